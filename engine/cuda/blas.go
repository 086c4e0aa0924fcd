//go:build cuda

package cuda

/*
#include <cuda.h>
#include <dlfcn.h>
#include <stddef.h>

// The functions of cuBLAS that are used; versions 11, 12 and 13 all export them.
typedef int (*create_t)(void **);
typedef int (*destroy_t)(void *);
typedef int (*stream_t)(void *, CUstream);
typedef int (*gemm_t)(void *, int, int, int, int, int, const void *, const void *, int, int,
	const void *, int, int, const void *, void *, int, int, int, int);

static struct { create_t create; destroy_t destroy; stream_t stream; gemm_t gemm; } blas;

// light is the library that cuBLAS needs beside it, or empty. It is opened first: a loader
// that does not know the folder would not find it.
static const char *blas_open(const char *path, const char *light) {
	if (*light)
		dlopen(light, RTLD_NOW | RTLD_GLOBAL);
	void *lib = dlopen(path, RTLD_NOW | RTLD_LOCAL);
	if (!lib)
		return dlerror();
	blas.create = (create_t)dlsym(lib, "cublasCreate_v2");
	blas.destroy = (destroy_t)dlsym(lib, "cublasDestroy_v2");
	blas.stream = (stream_t)dlsym(lib, "cublasSetStream_v2");
	blas.gemm = (gemm_t)dlsym(lib, "cublasGemmEx");
	return blas.create && blas.destroy && blas.stream && blas.gemm ? NULL : "the library lacks a function of cuBLAS";
}

static int blas_create(void **h) { return blas.create(h); }
static int blas_destroy(void *h) { return blas.destroy(h); }
static int blas_stream(void *h, CUstream s) { return blas.stream(h, s); }

// Row-major C[m,n] = A[m,k] B[n,k]^T + beta C, which is column-major C^T = B A^T.
static int blas_nt(void *h, int m, int n, int k, CUdeviceptr a, int lda, CUdeviceptr b, int type, CUdeviceptr c, int ldc, float beta) {
	float one = 1;
	const int transpose = 1, plain = 0, f32 = 0, compute_f32 = 68, algorithm = -1;
	return blas.gemm(h, transpose, plain, n, m, k, &one, (const void *)b, type, k, (const void *)a, type, lda,
		&beta, (void *)c, f32, ldc, compute_f32, algorithm);
}
*/
import "C"

import (
	"fmt"
	"os"
	"sync"
	"unsafe"

	"gorgonia.org/cu"
)

// blas is a handle of cuBLAS, which users get from a toolkit or from a Python package. It
// is looked up when needed and never linked.
type blas struct{ h unsafe.Pointer }

// blasLibrary is the library that works, once one was found.
var blasLibrary struct {
	sync.Mutex
	path string
}

// openBlas returns a handle that works on a stream. It must be called on the card's
// thread. It tries the libraries of blasNames until a handle can be created.
func openBlas(s cu.Stream) (*blas, error) {
	blasLibrary.Lock()
	defer blasLibrary.Unlock()
	b := &blas{}
	if blasLibrary.path == "" {
		if err := b.find(); err != nil {
			return nil, err
		}
	} else if r := C.blas_create(&b.h); r != 0 {
		return nil, fmt.Errorf("cublasCreate of %s: error %d", blasLibrary.path, int(r))
	}
	if r := C.blas_stream(b.h, *(*C.CUstream)(unsafe.Pointer(&s))); r != 0 {
		b.close()
		return nil, fmt.Errorf("cublasSetStream: error %d", int(r))
	}
	return b, nil
}

// find opens the first library of cuBLAS in which a handle can be created. blasLibrary
// must be locked.
func (b *blas) find() error {
	names := []string{os.Getenv(blasSetting)}
	switch names[0] {
	case "none":
		return fmt.Errorf("no cuBLAS: %s=none", blasSetting)
	case "":
		names = blasNames(cu.Version()/1000, blasFolders(os.Getenv, pythonOf(os.Getenv("PATH"))))
	}
	var why error
	for _, name := range names {
		if why = b.open(name); why == nil {
			blasLibrary.path = name
			return nil
		}
	}
	return fmt.Errorf("no cuBLAS: %w; %s names a library", why, blasSetting)
}

// open opens a library and creates a handle.
func (b *blas) open(name string) error {
	path := C.CString(name)
	defer C.free(unsafe.Pointer(path))
	light := C.CString(lightOf(name))
	defer C.free(unsafe.Pointer(light))
	if why := C.blas_open(path, light); why != nil {
		return fmt.Errorf("%s", C.GoString(why))
	}
	if r := C.blas_create(&b.h); r != 0 {
		return fmt.Errorf("cublasCreate of %s: error %d", name, int(r))
	}
	return nil
}

// blasType maps types to the numbers that cuBLAS gives them.
var blasType = map[dtype]C.int{f32: 0, f16: 2, bf16: 14}

// mul computes a product. The rows of p.W are contiguous.
func (b *blas) mul(p product) error {
	beta := C.float(0)
	if p.Add {
		beta = 1
	}
	r := C.blas_nt(b.h, C.int(p.M), C.int(p.N), C.int(p.K), C.CUdeviceptr(p.A), C.int(p.Lda),
		C.CUdeviceptr(p.W), blasType[p.T], C.CUdeviceptr(p.C), C.int(p.Ldc), beta)
	if r != 0 {
		return fmt.Errorf("cublasGemmEx [%d, %d] x [%d, %d]: error %d", p.M, p.K, p.N, p.K, int(r))
	}
	return nil
}

func (b *blas) close() { C.blas_destroy(b.h) }
