/* SPDX-License-Identifier: MIT
 *
 * The numbers of the system, read from its headers, so that no number of the kernel is typed in
 * TypeScript. What older headers lack is completed in numbers.h; a name that does not exist on this
 * machine's processor is left out.
 */
#include "memmap.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/memfd.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <unistd.h>

struct constant {
  const char *name;
  int value;
};

#define CONSTANT(name) {#name, (int)(name)}

static const struct constant constants[] = {
    CONSTANT(PROT_NONE),
    CONSTANT(PROT_READ),
    CONSTANT(PROT_WRITE),
    CONSTANT(PROT_EXEC),
    CONSTANT(PROT_GROWSDOWN),
    CONSTANT(PROT_GROWSUP),
    CONSTANT(PROT_SEM),
#ifdef PROT_SAO
    CONSTANT(PROT_SAO),
#endif
#ifdef PROT_BTI
    CONSTANT(PROT_BTI),
#endif
#ifdef PROT_MTE
    CONSTANT(PROT_MTE),
#endif
    CONSTANT(MAP_SHARED),
    CONSTANT(MAP_PRIVATE),
    CONSTANT(MAP_SHARED_VALIDATE),
    CONSTANT(MAP_DROPPABLE),
    CONSTANT(MAP_TYPE),
    CONSTANT(MAP_FIXED),
    CONSTANT(MAP_FIXED_NOREPLACE),
    CONSTANT(MAP_ANONYMOUS),
    CONSTANT(MAP_ANON),
    CONSTANT(MAP_FILE),
#ifdef MAP_32BIT
    CONSTANT(MAP_32BIT),
#endif
#ifdef MAP_ABOVE4G
    CONSTANT(MAP_ABOVE4G),
#endif
    CONSTANT(MAP_GROWSDOWN),
    CONSTANT(MAP_DENYWRITE),
    CONSTANT(MAP_EXECUTABLE),
    CONSTANT(MAP_LOCKED),
    CONSTANT(MAP_NORESERVE),
    CONSTANT(MAP_POPULATE),
    CONSTANT(MAP_NONBLOCK),
    CONSTANT(MAP_STACK),
    CONSTANT(MAP_HUGETLB),
    CONSTANT(MAP_SYNC),
    CONSTANT(MAP_UNINITIALIZED),
    CONSTANT(MAP_HUGE_SHIFT),
    CONSTANT(MAP_HUGE_MASK),
    CONSTANT(MAP_HUGE_16KB),
    CONSTANT(MAP_HUGE_64KB),
    CONSTANT(MAP_HUGE_512KB),
    CONSTANT(MAP_HUGE_1MB),
    CONSTANT(MAP_HUGE_2MB),
    CONSTANT(MAP_HUGE_8MB),
    CONSTANT(MAP_HUGE_16MB),
    CONSTANT(MAP_HUGE_32MB),
    CONSTANT(MAP_HUGE_256MB),
    CONSTANT(MAP_HUGE_512MB),
    CONSTANT(MAP_HUGE_1GB),
    CONSTANT(MAP_HUGE_2GB),
    CONSTANT(MAP_HUGE_16GB),
    CONSTANT(MS_ASYNC),
    CONSTANT(MS_INVALIDATE),
    CONSTANT(MS_SYNC),
    CONSTANT(MADV_NORMAL),
    CONSTANT(MADV_RANDOM),
    CONSTANT(MADV_SEQUENTIAL),
    CONSTANT(MADV_WILLNEED),
    CONSTANT(MADV_DONTNEED),
    CONSTANT(MADV_FREE),
    CONSTANT(MADV_REMOVE),
    CONSTANT(MADV_DONTFORK),
    CONSTANT(MADV_DOFORK),
    CONSTANT(MADV_MERGEABLE),
    CONSTANT(MADV_UNMERGEABLE),
    CONSTANT(MADV_HUGEPAGE),
    CONSTANT(MADV_NOHUGEPAGE),
    CONSTANT(MADV_DONTDUMP),
    CONSTANT(MADV_DODUMP),
    CONSTANT(MADV_WIPEONFORK),
    CONSTANT(MADV_KEEPONFORK),
    CONSTANT(MADV_COLD),
    CONSTANT(MADV_PAGEOUT),
    CONSTANT(MADV_POPULATE_READ),
    CONSTANT(MADV_POPULATE_WRITE),
    CONSTANT(MADV_DONTNEED_LOCKED),
    CONSTANT(MADV_COLLAPSE),
    CONSTANT(MADV_GUARD_INSTALL),
    CONSTANT(MADV_GUARD_REMOVE),
    CONSTANT(MADV_HWPOISON),
    CONSTANT(MADV_SOFT_OFFLINE),
    CONSTANT(MCL_CURRENT),
    CONSTANT(MCL_FUTURE),
    CONSTANT(MCL_ONFAULT),
    CONSTANT(MLOCK_ONFAULT),
    CONSTANT(MREMAP_MAYMOVE),
    CONSTANT(MREMAP_FIXED),
    CONSTANT(MREMAP_DONTUNMAP),
    CONSTANT(MFD_CLOEXEC),
    CONSTANT(MFD_ALLOW_SEALING),
    CONSTANT(MFD_HUGETLB),
    CONSTANT(MFD_NOEXEC_SEAL),
    CONSTANT(MFD_EXEC),
    CONSTANT(MFD_HUGE_SHIFT),
    CONSTANT(MFD_HUGE_MASK),
    CONSTANT(MFD_HUGE_64KB),
    CONSTANT(MFD_HUGE_512KB),
    CONSTANT(MFD_HUGE_1MB),
    CONSTANT(MFD_HUGE_2MB),
    CONSTANT(MFD_HUGE_8MB),
    CONSTANT(MFD_HUGE_16MB),
    CONSTANT(MFD_HUGE_32MB),
    CONSTANT(MFD_HUGE_256MB),
    CONSTANT(MFD_HUGE_512MB),
    CONSTANT(MFD_HUGE_1GB),
    CONSTANT(MFD_HUGE_2GB),
    CONSTANT(MFD_HUGE_16GB),
    CONSTANT(F_SEAL_SEAL),
    CONSTANT(F_SEAL_SHRINK),
    CONSTANT(F_SEAL_GROW),
    CONSTANT(F_SEAL_WRITE),
    CONSTANT(F_SEAL_FUTURE_WRITE),
    CONSTANT(F_SEAL_EXEC),
    CONSTANT(LOCK_SH),
    CONSTANT(LOCK_EX),
    CONSTANT(LOCK_NB),
    CONSTANT(O_TMPFILE),
    CONSTANT(RLIMIT_AS),
    CONSTANT(RLIMIT_DATA),
    CONSTANT(RLIMIT_MEMLOCK),
    CONSTANT(SEEK_END),
    CONSTANT(SEEK_DATA),
    CONSTANT(SEEK_HOLE),
};

/* The errnos that the calls of the addon are documented to give, and those storage drivers are
 * known to pass through them. Where two names share a number, the manual pages' one stands. */
static const struct constant errnos[] = {
    CONSTANT(EPERM),     CONSTANT(ENOENT),    CONSTANT(EINTR),      CONSTANT(EIO),
    CONSTANT(ENXIO),     CONSTANT(EBADF),     CONSTANT(EAGAIN),     CONSTANT(ENOMEM),
    CONSTANT(EACCES),    CONSTANT(EFAULT),    CONSTANT(EBUSY),      CONSTANT(EEXIST),
    CONSTANT(ENODEV),    CONSTANT(ENOTDIR),   CONSTANT(EISDIR),     CONSTANT(EINVAL),
    CONSTANT(ENFILE),    CONSTANT(EMFILE),    CONSTANT(ETXTBSY),    CONSTANT(EFBIG),
    CONSTANT(ENOSPC),    CONSTANT(ESPIPE),    CONSTANT(EROFS),      CONSTANT(EPIPE),
    CONSTANT(EDEADLK),   CONSTANT(ENOSYS),    CONSTANT(ELOOP),      CONSTANT(EOVERFLOW),
    CONSTANT(EUCLEAN),   CONSTANT(EDQUOT),    CONSTANT(ECANCELED),  CONSTANT(EOPNOTSUPP),
    CONSTANT(ETIMEDOUT), CONSTANT(ESTALE),    CONSTANT(EREMOTEIO),  CONSTANT(ENAMETOOLONG),
    CONSTANT(EHWPOISON), CONSTANT(ESRCH),
};

/* {MAP_SHARED: 1, ...} */
napi_value mm_constants(napi_env env) {
  napi_value object = NULL;
  if (napi_create_object(env, &object) != napi_ok) return NULL;
  for (size_t i = 0; i < sizeof constants / sizeof constants[0]; i++) {
    napi_value value = mm_number(env, constants[i].value);
    (void)napi_set_named_property(env, object, constants[i].name, value);
  }
  return object;
}

/* {"2": "ENOENT", ...} */
napi_value mm_errno_names(napi_env env) {
  napi_value object = NULL;
  if (napi_create_object(env, &object) != napi_ok) return NULL;
  for (size_t i = 0; i < sizeof errnos / sizeof errnos[0]; i++) {
    napi_value name = NULL;
    (void)napi_create_string_utf8(env, errnos[i].name, NAPI_AUTO_LENGTH, &name);
    (void)napi_set_element(env, object, (uint32_t)errnos[i].value, name);
  }
  return object;
}
