/*
 * Changes to Bochs 3.0 that let Linux use its AMX, as a library for LD_PRELOAD.
 *
 * 1. XFD, which Linux demands: with two registers, it learns that a process uses tiles for
 *    the first time, by an exception, and makes room to save them.
 * 2. Bochs keeps decoded instructions after Linux has changed them through another
 *    address. They are dropped wherever Linux makes the processor see a change: when the
 *    page table changes, and, while Linux boots, when an interrupt handler returns.
 * 3. Bochs says of tiles that hold data that they hold none, and the reverse, so that they
 *    would not be saved.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <link.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

/* address returns the address of a symbol of Bochs and its size. */
static void **address(const char *name, size_t *size)
{
	Dl_info info;
	ElfW(Sym) *symbol;
	void *at = dlsym(RTLD_DEFAULT, name);

	if (!at || !dladdr1(at, &info, (void **)&symbol, RTLD_DL_SYMENT)) {
		fprintf(stderr, "bochs.c: this Bochs has no %s; version 3.0 is needed\n", name);
		exit(1);
	}
	*size = symbol->st_size;
	return at;
}

/* replace replaces a function in a table of functions. */
static void *replace(const char *table, const char *name, void *with)
{
	size_t bytes, ignored;
	void **entry = address(table, &bytes);
	void *was = address(name, &ignored);
	uintptr_t page = (uintptr_t)entry & ~(uintptr_t)4095;

	if (mprotect((void *)page, (uintptr_t)entry + bytes - page, PROT_READ | PROT_WRITE)) {
		perror("bochs.c: mprotect");
		exit(1);
	}
	for (size_t i = 0; i < bytes / sizeof(*entry); i++) {
		if (entry[i] == was) {
			entry[i] = with;
			return was;
		}
	}
	fprintf(stderr, "bochs.c: %s is not in %s; Bochs 3.0 is needed\n", name, table);
	exit(1);
}

/* cpuid says that there is XFD. */
struct leaf {
	uint32_t eax, ebx, ecx, edx;
};
static void (*cpuid)(const void *model, uint32_t function, uint32_t subfunction, struct leaf *leaf);

static void cpuid_with_xfd(const void *model, uint32_t function, uint32_t subfunction, struct leaf *leaf)
{
	cpuid(model, function, subfunction, leaf);
	if (function == 0xd && subfunction == 1)
		leaf->eax |= 1 << 4;
}

/* An instruction. It runs the instructions after it, too. */
typedef void (*instruction)(void *processor, void *operands);

/* The registers XFD and XFD_ERR. Bochs ignores writes to them (ignore_bad_msrs). */
enum { XFD = 0x1c4, XFD_ERR = 0x1c5 };
static uint64_t xfd[2];
static instruction wrmsr, rdmsr, nop;

/* general returns a general register of a processor of Bochs 3.0: 0 is RAX, 1 RCX, 2 RDX. */
static uint64_t *general(void *processor, int n) { return (uint64_t *)((char *)processor + 0x60) + n; }

static void wrmsr_with_xfd(void *p, void *i)
{
	uint32_t at = *general(p, 1);

	if (at == XFD || at == XFD_ERR)
		xfd[at - XFD] = *general(p, 2) << 32 | (uint32_t)*general(p, 0);
	wrmsr(p, i);
}

static void rdmsr_with_xfd(void *p, void *i)
{
	uint32_t at = *general(p, 1);

	if (at != XFD && at != XFD_ERR) {
		rdmsr(p, i);
		return;
	}
	*general(p, 0) = (uint32_t)xfd[at - XFD];
	*general(p, 2) = xfd[at - XFD] >> 32;
	nop(p, i);
}

/* Tiles are not available while their bit of XFD is set. A program configures them first. */
enum { TILE_DATA = 1 << 18, NOT_AVAILABLE = 7 };
static instruction ldtilecfg;
static void (*exception)(void *processor, unsigned vector, uint16_t error);

static void ldtilecfg_with_xfd(void *p, void *i)
{
	if (xfd[0] & TILE_DATA) {
		xfd[1] |= TILE_DATA;
		exception(p, NOT_AVAILABLE, 0);
	}
	ldtilecfg(p, i);
}

/* Instructions after which changed code is executed. */
static void (*drop_decoded)(void);
static instruction mov_cr3, invlpg, int3, iret;

/* Linux changes code at addresses of its own page table once it has booted. */
enum { IRETS_OF_BOOT = 100000 };
static long irets;

static void mov_cr3_and_drop(void *p, void *i) { drop_decoded(); mov_cr3(p, i); }
static void invlpg_and_drop(void *p, void *i) { drop_decoded(); invlpg(p, i); }
static void int3_and_drop(void *p, void *i) { drop_decoded(); int3(p, i); }
static void iret_and_drop(void *p, void *i)
{
	if (irets++ < IRETS_OF_BOOT)
		drop_decoded();
	iret(p, i);
}

/* correct_in_use makes the function that says whether tiles hold data return the opposite. */
static void correct_in_use(void)
{
	size_t size;
	uint8_t *code = (void *)address("_ZN8BX_CPU_C27xsave_tiledata_state_xinuseEv", &size);
	uintptr_t page = (uintptr_t)code & ~(uintptr_t)4095;

	for (size_t i = 0; i + 3 <= size; i++) {
		if (code[i] != 0x0f || code[i + 1] != 0x94 || code[i + 2] != 0xc0) /* sete %al */
			continue;
		if (mprotect((void *)page, 8192, PROT_READ | PROT_WRITE | PROT_EXEC)) {
			perror("bochs.c: mprotect");
			exit(1);
		}
		code[i + 1] = 0x95; /* setne */
		return;
	}
	fprintf(stderr, "bochs.c: xsave_tiledata_state_xinuse is not that of Bochs 3.0\n");
	exit(1);
}

__attribute__((constructor)) static void change(void)
{
	static const char opcodes[] = "BxOpcodesTable";
	size_t ignored;

	cpuid = replace("_ZTV17sapphire_rapids_t", "_ZNK17sapphire_rapids_t14get_cpuid_leafEjjP16cpuid_function_t", cpuid_with_xfd);
	wrmsr = replace(opcodes, "_ZN8BX_CPU_C5WRMSREP15bxInstruction_c", wrmsr_with_xfd);
	rdmsr = replace(opcodes, "_ZN8BX_CPU_C5RDMSREP15bxInstruction_c", rdmsr_with_xfd);
	nop = (void *)address("_ZN8BX_CPU_C3NOPEP15bxInstruction_c", &ignored);
	ldtilecfg = replace(opcodes, "_ZN8BX_CPU_C9LDTILECFGEP15bxInstruction_c", ldtilecfg_with_xfd);
	exception = (void *)address("_ZN8BX_CPU_C9exceptionEjt", &ignored);
	correct_in_use();
	drop_decoded = (void *)address("_Z12flushICachesv", &ignored);
	mov_cr3 = replace(opcodes, "_ZN8BX_CPU_C9MOV_CR3RqEP15bxInstruction_c", mov_cr3_and_drop);
	invlpg = replace(opcodes, "_ZN8BX_CPU_C6INVLPGEP15bxInstruction_c", invlpg_and_drop);
	int3 = replace(opcodes, "_ZN8BX_CPU_C4INT3EP15bxInstruction_c", int3_and_drop);
	iret = replace(opcodes, "_ZN8BX_CPU_C6IRET64EP15bxInstruction_c", iret_and_drop);
}
