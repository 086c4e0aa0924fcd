/* A libcuda to link with that needs no driver: every function of symbols.h is
   a jump to the one found in libcuda.so.1 at start. Without that library, or
   without a function in it, calls return an error instead, so that one binary
   runs on machines with and without a card.

   gorgonia.org/cu calls cuInit and cuDeviceGetCount when it is initialised and
   ends the process on an error. Neither reports one here:
   attnscope_cuda_why() tells what they would have said. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NO_DEVICE 100     /* CUDA_ERROR_NO_DEVICE */
#define NOT_SUPPORTED 801 /* CUDA_ERROR_NOT_SUPPORTED: the driver lacks this function */

#define SYMBOL(name) __attribute__((visibility("hidden"))) void *attnscope_at_##name;
#include "symbols.h"
#undef SYMBOL

static const struct { const char *name; void **at; } table[] = {
#define SYMBOL(name) {#name, &attnscope_at_##name},
#include "symbols.h"
#undef SYMBOL
};

static char why[512];
static int init_result = NO_DEVICE;
static int (*real_init)(unsigned);
static int (*real_count)(int *);

static int no_device(void) { return NO_DEVICE; }
static int not_supported(void) { return NOT_SUPPORTED; }
static int no_version(int *v) {
	*v = 0;
	return 0;
}

static int soft_init(unsigned flags) {
	if (!real_init)
		return 0;
	init_result = real_init(flags);
	if (init_result)
		snprintf(why, sizeof why, "the driver refuses to start: cuInit returns error %d%s", init_result,
		         init_result == NO_DEVICE ? " (no device)" : init_result == 803 ? " (driver and library differ in version)" : "");
	return 0;
}

static int soft_count(int *n) {
	*n = 0;
	return real_count && init_result == 0 ? real_count(n) : 0;
}

/* Why there is no device; empty where the driver started. */
const char *attnscope_cuda_why(void) { return why; }

/* ATTNSCOPE_LIBCUDA names another library: tests run on an emulated driver. */
__attribute__((constructor)) static void load(void) {
	const char *path = getenv("ATTNSCOPE_LIBCUDA");
	if (!path || !*path)
		path = "libcuda.so.1";
	void *lib = dlopen(path, RTLD_NOW | RTLD_LOCAL);
	if (!lib)
		snprintf(why, sizeof why, "no NVIDIA driver: %s", dlerror());
	for (unsigned i = 0; i < sizeof table / sizeof *table; i++) {
		const char *name = table[i].name;
		void *f = lib ? dlsym(lib, name) : NULL;
		if (!strcmp(name, "cuInit")) {
			real_init = (int (*)(unsigned))f;
			f = (void *)soft_init;
		} else if (!strcmp(name, "cuDeviceGetCount")) {
			real_count = (int (*)(int *))f;
			f = (void *)soft_count;
		} else if (!f && !strcmp(name, "cuDriverGetVersion")) {
			f = (void *)no_version;
		} else if (!f) {
			f = lib ? (void *)not_supported : (void *)no_device;
		}
		*table[i].at = f;
	}
}

#if defined(__x86_64__)
#define SYMBOL(name) \
	__asm__(".text\n.globl " #name "\n.type " #name ",@function\n" #name ":\n\tendbr64\n\tjmp *attnscope_at_" #name "(%rip)\n.size " #name ",.-" #name "\n");
#elif defined(__aarch64__)
#define SYMBOL(name) \
	__asm__(".text\n.globl " #name "\n.type " #name ",%function\n" #name ":\n\tadrp x16, attnscope_at_" #name "\n\tldr x16, [x16, :lo12:attnscope_at_" #name "]\n\tbr x16\n.size " #name ",.-" #name "\n");
#else
#error "a jump for this processor is missing"
#endif
#include "symbols.h"
