/* SPDX-License-Identifier: MIT
 *
 * The numbers of the system, read from its headers, so that no number of the kernel is typed in
 * TypeScript. What older headers lack is completed in memmap.h; a name that does not exist on this
 * machine's processor is left out.
 */
#include "memmap.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/memfd.h>
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
    CONSTANT(MAP_SHARED),
    CONSTANT(MAP_PRIVATE),
    CONSTANT(MAP_SHARED_VALIDATE),
    CONSTANT(MAP_ANONYMOUS),
    CONSTANT(MAP_DROPPABLE),
    CONSTANT(MAP_GROWSDOWN),
    CONSTANT(MAP_HUGETLB),
    CONSTANT(MAP_HUGE_SHIFT),
    CONSTANT(MAP_LOCKED),
    CONSTANT(MAP_NORESERVE),
    CONSTANT(MAP_POPULATE),
    CONSTANT(MAP_STACK),
    CONSTANT(MAP_SYNC),
#ifdef MAP_32BIT
    CONSTANT(MAP_32BIT),
#endif
    CONSTANT(MS_ASYNC),
    CONSTANT(MS_SYNC),
    CONSTANT(MS_INVALIDATE),
    CONSTANT(MADV_NORMAL),
    CONSTANT(MADV_RANDOM),
    CONSTANT(MADV_SEQUENTIAL),
    CONSTANT(MADV_WILLNEED),
    CONSTANT(MADV_DONTNEED),
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
    CONSTANT(MADV_COLLAPSE),
    CONSTANT(MFD_CLOEXEC),
    CONSTANT(MFD_HUGETLB),
    CONSTANT(RLIMIT_AS),
    CONSTANT(RLIMIT_DATA),
    CONSTANT(RLIMIT_MEMLOCK),
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
    CONSTANT(EHWPOISON),
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
