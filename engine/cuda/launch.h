/* A launch of a kernel, which can also be a node of a graph. */
#include <cuda.h>
#include <stdint.h>

/* The most parameters of a kernel. Each takes 8 bytes, of which the driver reads as many
   as the kernel takes. */
enum { most_params = 48 };

/* f is a CUfunction. The struct has no pointers, so that cgo need not look for some to Go
   memory in a slice of launches. */
typedef struct {
	unsigned long long f;
	unsigned x, y, z, threads, shared;
	int n;
	unsigned long long params[most_params];
} kernel_launch;

static inline CUDA_KERNEL_NODE_PARAMS launch_params(kernel_launch *l, void **at) {
	CUDA_KERNEL_NODE_PARAMS p = {0};
	for (int i = 0; i < l->n; i++)
		at[i] = &l->params[i];
	p.func = (CUfunction)(uintptr_t)l->f;
	p.gridDimX = l->x, p.gridDimY = l->y, p.gridDimZ = l->z;
	p.blockDimX = l->threads, p.blockDimY = 1, p.blockDimZ = 1;
	p.sharedMemBytes = l->shared;
	p.kernelParams = at;
	return p;
}

static inline CUresult launch_now(kernel_launch *l, CUstream s) {
	void *at[most_params];
	CUDA_KERNEL_NODE_PARAMS p = launch_params(l, at);
	return cuLaunchKernel(p.func, p.gridDimX, p.gridDimY, p.gridDimZ, p.blockDimX, 1, 1, p.sharedMemBytes, s, at, NULL);
}

/* A node runs after the one before it; the first has none. */
static inline CUresult graph_add(CUgraph g, CUgraphNode *node, CUgraphNode before, kernel_launch *l) {
	void *at[most_params];
	CUDA_KERNEL_NODE_PARAMS p = launch_params(l, at);
	return cuGraphAddKernelNode(node, g, &before, before ? 1 : 0, &p);
}

static inline CUresult graph_set(CUgraphExec e, CUgraphNode node, kernel_launch *l) {
	void *at[most_params];
	CUDA_KERNEL_NODE_PARAMS p = launch_params(l, at);
	return cuGraphExecKernelNodeSetParams(e, node, &p);
}
