// The kernels' bodies, compiled for the host.
#define ATTNSCOPE_EMU
#include "../kernels/kernels.cu"
