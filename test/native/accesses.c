/* SPDX-License-Identifier: MIT
 *
 * Whether a fault was a read or a write, for the forms of instructions that touch memory: each is
 * made on a page that forbids it, and must end with what it was told of itself. On arm64 the
 * kernel's record of it is read as well, and where there is none the instruction.
 */
#include "check.h"

#include "../../native/guard.h"

#include <signal.h>
#include <ucontext.h>

enum kind { READS, WRITES, UPDATES };

/* Both an instruction and its kind; the address is operand 0, what it needs besides is its own. */
struct form {
  enum kind kind;
  void (*touch)(uint8_t *at);
};

#if defined(__aarch64__)

/* Registers that no operand of these forms is put into. */
#define SCRATCH "x2", "x3", "x4", "x5", "x6", "x7", "v16", "v17", "memory", "cc"

/* ThreadSanitizer does not see what stands in assembler; the name is the line's. */
#define FORM(kind, name, code)                                      \
  TOUCH void name(uint8_t *at) {                                    \
    __asm__ volatile(".arch armv8.3-a\n" code : "+r"(at) : : SCRATCH); \
  }

#define FORMS(FORM)                                             \
  FORM(READS, load, "ldr x2, [%0]")                             \
  FORM(READS, load_word, "ldr w2, [%0]")                        \
  FORM(READS, load_byte, "ldrb w2, [%0]")                       \
  FORM(READS, load_half, "ldrh w2, [%0]")                       \
  FORM(READS, load_signed_byte, "ldrsb x2, [%0]")               \
  FORM(READS, load_signed_half, "ldrsh w2, [%0]")               \
  FORM(READS, load_signed_word, "ldrsw x2, [%0]")               \
  FORM(READS, load_unscaled, "ldur x2, [%0, #3]")               \
  FORM(READS, load_after, "ldr x2, [%0], #8")                   \
  FORM(READS, load_before, "ldr x2, [%0, #8]!")                 \
  FORM(READS, load_index, "mov x3, #1\nldr x2, [%0, x3, lsl #3]") \
  FORM(READS, load_unprivileged, "ldtr x2, [%0]")               \
  FORM(READS, load_pair, "ldp x2, x3, [%0]")                    \
  FORM(READS, load_signed_pair, "ldpsw x2, x3, [%0]")           \
  FORM(READS, load_pair_once, "ldnp x2, x3, [%0]")              \
  FORM(READS, load_vector, "ldr q16, [%0]")                     \
  FORM(READS, load_double, "ldr d16, [%0]")                     \
  FORM(READS, load_vector_unscaled, "ldur q16, [%0, #3]")       \
  FORM(READS, load_vector_pair, "ldp q16, q17, [%0]")           \
  FORM(READS, load_structure, "ld1 {v16.16b}, [%0]")            \
  FORM(READS, load_structures, "ld2 {v16.8h, v17.8h}, [%0], #32") \
  FORM(READS, load_lane, "ld1 {v16.b}[3], [%0]")                \
  FORM(READS, load_copies, "ld1r {v16.4s}, [%0]")               \
  FORM(READS, load_exclusive, "ldxr x2, [%0]\nclrex")           \
  FORM(READS, load_exclusive_pair, "ldxp x2, x3, [%0]\nclrex")  \
  FORM(READS, load_acquire, "ldar w2, [%0]")                    \
  FORM(READS, load_acquire_exclusive, "ldaxrb w2, [%0]\nclrex") \
  FORM(READS, load_acquire_later, "ldapr x2, [%0]")             \
  FORM(WRITES, store, "str x2, [%0]")                           \
  FORM(WRITES, store_byte, "strb w2, [%0]")                     \
  FORM(WRITES, store_half, "strh w2, [%0]")                     \
  FORM(WRITES, store_unscaled, "stur x2, [%0, #3]")             \
  FORM(WRITES, store_after, "str x2, [%0], #8")                 \
  FORM(WRITES, store_index, "mov x3, #1\nstr x2, [%0, x3, lsl #3]") \
  FORM(WRITES, store_unprivileged, "sttr x2, [%0]")             \
  FORM(WRITES, store_pair, "stp x2, x3, [%0]")                  \
  FORM(WRITES, store_pair_once, "stnp x2, x3, [%0]")            \
  FORM(WRITES, store_vector, "str q16, [%0]")                   \
  FORM(WRITES, store_single, "str s16, [%0]")                   \
  FORM(WRITES, store_vector_pair, "stp q16, q17, [%0]")         \
  FORM(WRITES, store_structure, "st1 {v16.16b}, [%0]")          \
  FORM(WRITES, store_lane, "st1 {v16.h}[3], [%0]")              \
  FORM(WRITES, store_release, "stlr x2, [%0]")                  \
  FORM(WRITES, store_zeros, "dc zva, %0")                       \
  FORM(UPDATES, add, "ldadd x2, x3, [%0]")                      \
  FORM(UPDATES, add_acquire, "ldaddal w2, w3, [%0]")            \
  FORM(UPDATES, swap, "swp x2, x3, [%0]")                       \
  FORM(UPDATES, swap_byte, "swpab w2, w3, [%0]")                \
  FORM(UPDATES, compare, "mov x2, #0\ncas x2, x3, [%0]")        \
  FORM(UPDATES, compare_acquire, "mov x2, #0\ncasal x2, x3, [%0]") \
  FORM(UPDATES, compare_pair, "mov x2, #0\nmov x3, #0\ncasp x2, x3, x4, x5, [%0]") \
  FORM(UPDATES, compare_pair_acquire, "mov x2, #0\nmov x3, #0\ncaspal x2, x3, x4, x5, [%0]") \
  FORM(UPDATES, exclusively, "0: ldxr x2, [%0]\nstxr w3, x2, [%0]\ncbnz w3, 0b")

#elif defined(__x86_64__)

#define FORM(kind, name, code)                                            \
  TOUCH void name(uint8_t *at) {                                          \
    __asm__ volatile(code : "+D"(at) : : "rax", "rcx", "rdx", "xmm7", "memory", "cc"); \
  }

#define FORMS(FORM)                                   \
  FORM(READS, load, "movq (%0), %%rax")               \
  FORM(READS, load_byte, "movb 3(%0), %%al")          \
  FORM(READS, load_vector, "movups 3(%0), %%xmm7")    \
  FORM(READS, compare_byte, "cmpb $0, (%0)")          \
  FORM(WRITES, store, "movq %%rax, (%0)")             \
  FORM(WRITES, store_byte, "movb %%al, 3(%0)")        \
  FORM(WRITES, store_vector, "movups %%xmm7, 3(%0)")  \
  FORM(WRITES, store_string, "movl $9, %%ecx\nrep stosb") \
  FORM(UPDATES, add, "addq $1, (%0)")                 \
  FORM(UPDATES, add_locked, "lock xaddq %%rax, (%0)") \
  FORM(UPDATES, swap, "xchgq %%rax, (%0)")            \
  FORM(UPDATES, compare, "lock cmpxchgq %%rdx, (%0)")

#endif

#if defined(FORMS)

FORMS(FORM)

#define ENTRY(kind, name, code) {kind, name},
static const struct form forms[] = {FORMS(ENTRY)};
enum { FORM_COUNT = sizeof forms / sizeof forms[0] };

static struct mm_handle *map_pages(size_t pages, int prot) {
  struct mm_map_request request = {
      .length = pages * mm_sys_page_size(),
      .page = mm_sys_page_size(),
      .prot = prot,
      .flags = MAP_ANONYMOUS | MAP_PRIVATE,
      .fd = -1,
  };
  return map_request(&request);
}

/* Makes each form on a page of its own, at an address that all of them may have. */
static void test_forms(int prot) {
  size_t page = mm_sys_page_size();
  struct mm_handle *handle = map_pages(FORM_COUNT, prot);
  struct mm_slot *slot = handle->region->slot;
  for (size_t i = 0; i < FORM_COUNT; i++) {
    uint8_t *at = (uint8_t *)handle->region->base + i * page + 64;
    struct mm_fault fault = {.count = 0};
    forms[i].touch(at);
    bool is_told = mm_guard_take(slot, &fault);
    CHECK(is_told == (prot == PROT_NONE || forms[i].kind != READS));
    if (!is_told) continue;
    CHECK(fault.reason == MM_FAULT_PROTECTED);
    CHECK(fault.address - ((uintptr_t)at - 64) < page); /* a cleared block begins before it */
    if (forms[i].kind == UPDATES) CHECK(fault.count <= 2);
    else CHECK(fault.count == 1 && fault.write == (forms[i].kind == WRITES));
  }
  end_mapping(handle);
}

#endif

#if defined(__aarch64__)

/* A frame as the kernel makes it: the vector registers, what the processor told, the end. The
 * instruction is nowhere: to look at it would end the program. */
static void tell(void *address, uint64_t syndrome) {
  static ucontext_t state;
  uint8_t *records = (uint8_t *)state.uc_mcontext.__reserved;
  const uint32_t vectors[2] = {0x46508001u, 528}, told[2] = {0x45535201u, 16};
  siginfo_t info = {.si_code = SEGV_ACCERR};
  memcpy(records, vectors, sizeof vectors);
  memcpy(records + 528, told, sizeof told);
  memcpy(records + 528 + sizeof told, &syndrome, sizeof syndrome);
  state.uc_mcontext.pc = 0;
  info.si_addr = address;
  mm_handler(SIGSEGV, &info, &state);
}

/* The kernel's record goes before the instruction: class 0x24 is a data abort. */
static void test_syndrome(void) {
  const uint64_t data = (uint64_t)0x24 << 26, write = 1u << 6, maintenance = 1u << 8;
  size_t page = mm_sys_page_size();
  struct mm_handle *handle = map_pages(3, PROT_NONE);
  struct mm_slot *slot = handle->region->slot;
  uint8_t *base = handle->region->base;
  tell(base + 1, data);
  CHECK(told(slot, 1, base + 1, false, MM_FAULT_PROTECTED));
  tell(base + page, data | write);
  CHECK(told(slot, 1, base + page, true, MM_FAULT_PROTECTED));
  tell(base + 2 * page, data | write | maintenance);
  CHECK(told(slot, 1, base + 2 * page, false, MM_FAULT_PROTECTED));
  end_mapping(handle);
}

#endif

void test_accesses(void) {
#if defined(FORMS)
  test_forms(PROT_NONE);
  test_forms(PROT_READ);
#endif
#if defined(__aarch64__)
  test_syndrome();
#endif
}
