// The functions of a CUDA driver that gorgonia.org/cu and engine/cuda call, for
// tests without a card. It is strict where drivers are forgiving: streams run
// only when something waits for them, so that a forgotten wait shows; memory is
// NaN until it is written and ends at a page nobody may touch.
//
//	ATTNSCOPE_EMU_DEVICES  cards (1)            ATTNSCOPE_EMU_MEM    bytes of a card (2 GiB)
//	ATTNSCOPE_EMU_THREADS  workers (all cores)  ATTNSCOPE_EMU_ORDER  0 up, 1 down, else a permutation of threads
//	ATTNSCOPE_EMU_CUT_OFF  1: tensor cores cut sums off (emu/device.h)
//	ATTNSCOPE_EMU_EAGER    1: no laziness       ATTNSCOPE_EMU_FAIL   NAME:N or NAME:N:CODE, the N-th call of NAME fails
//	ATTNSCOPE_EMU_RECORD   a file that some launches of every kernel are written to, for ../kernels/replay.py
//	ATTNSCOPE_EMU_RECORD_ALL  the beginning of kernels' names of which all are written, several with colons between
#include "emu.h"
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <deque>
#include <mutex>
#include <sys/mman.h>

struct CUctx_st { CUdevice device; unsigned flags; };
struct CUfunc_st { Kernel *kernel; };
struct CUmod_st { std::map<std::string, CUfunc_st> functions; };
struct CUevent_st { long recorded = 0, done = 0; double time = 0; CUstream stream = nullptr; };
// An operation: work, the recording of an event, or waiting for one.
struct Op { std::function<CUresult()> work; CUevent event = nullptr; long value = 0; bool wait = false; };
// A launch whose parameters are packed, and a graph of launches. An executable graph
// runs a node as early as its dependencies allow, later ones first, so that a forgotten
// dependency shows.
struct Launch { Kernel *kernel = nullptr; emu_dim3 grid, block; unsigned dynamic = 0; std::vector<char> packed; };
struct CUgraphNode_st { Launch launch; std::vector<CUgraphNode> after; };
struct CUgraph_st { std::vector<CUgraphNode> nodes; };
struct CUgraphExec_st { std::vector<CUgraphNode> nodes; std::map<CUgraphNode, Launch> launches; };
struct CUstream_st { std::deque<Op> queue; unsigned flags = 0; };

namespace {

const size_t PAGE = 4096, ALIGN = 256;
const unsigned char PAST = 0xA5; // stands between the end of an allocation and the guard

struct Alloc { char *map; size_t mapped, size; };
typedef std::map<uintptr_t, Alloc> Allocs;

std::recursive_mutex lock;
Allocs device_memory, host_memory;
size_t used;
CUresult sticky; // the first failure of a kernel stays, as on a card
CUstream_st null_stream;
std::vector<CUstream> streams{&null_stream};
thread_local std::vector<CUcontext> contexts;

size_t total_memory() {
  static size_t n = setting("ATTNSCOPE_EMU_MEM", 2L << 30);
  return n;
}
double now() { return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

bool inside(const Allocs &m, uintptr_t p, size_t n) {
  auto i = m.upper_bound(p);
  if (i == m.begin()) return false;
  --i;
  return p + n <= i->first + i->second.size;
}
bool on_device(CUdeviceptr p, size_t n) { return inside(device_memory, p, n); }

// The code that a call of fn is to fail with.
CUresult injected(const char *fn) {
  static const char *s = getenv("ATTNSCOPE_EMU_FAIL");
  static long calls;
  if (!s) return CUDA_SUCCESS;
  const char *c = strchr(s, ':');
  if (!c || strlen(fn) != size_t(c - s) || strncmp(s, fn, c - s) || ++calls != atol(c + 1)) return CUDA_SUCCESS;
  c = strchr(c + 1, ':');
  CUresult r = c ? (CUresult)atol(c + 1) : CUDA_ERROR_OUT_OF_MEMORY;
  if (r == CUDA_ERROR_ILLEGAL_ADDRESS || r == CUDA_ERROR_LAUNCH_FAILED) sticky = r;
  return r;
}

bool step(CUstream s) {
  if (s->queue.empty()) return false;
  Op o = std::move(s->queue.front());
  s->queue.pop_front();
  if (o.wait) {
    while (o.event->done < o.value && o.event->stream && step(o.event->stream)) {}
  } else if (o.event) {
    o.event->time = now(), o.event->done = o.value;
  } else if (!sticky) {
    sticky = o.work();
  }
  return true;
}
void drain(CUstream s) { while (step(s)) {} }

// The legacy default stream waits for all others and they for it.
void before(CUstream s) {
  if (s != &null_stream) {
    if (!(s->flags & CU_STREAM_NON_BLOCKING)) drain(&null_stream);
    return;
  }
  for (CUstream x : streams) if (x != s && !(x->flags & CU_STREAM_NON_BLOCKING)) drain(x);
}
CUresult put(CUstream s, std::function<CUresult()> work) {
  static bool eager = setting("ATTNSCOPE_EMU_EAGER", 0);
  if (!s) s = &null_stream;
  if (sticky) return sticky;
  before(s);
  s->queue.push_back({work});
  if (eager) drain(s);
  return CUDA_SUCCESS;
}
CUresult wait_all() {
  for (CUstream s : streams) drain(s);
  return sticky;
}
CUresult wait_legacy() {
  before(&null_stream);
  drain(&null_stream);
  return sticky;
}

CUresult take(Allocs &m, size_t n, uintptr_t *p, int fill) {
  size_t len = (n + ALIGN - 1) / ALIGN * ALIGN, mapped = (len + PAGE - 1) / PAGE * PAGE;
  char *b = (char *)mmap(nullptr, mapped + PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (b == MAP_FAILED) return CUDA_ERROR_OUT_OF_MEMORY;
  mprotect(b + mapped, PAGE, PROT_NONE);
  if (fill) memset(b, fill, mapped);
  char *at = b + mapped - len;
  memset(at + n, PAST, len - n);
  m[(uintptr_t)at] = {b, mapped + PAGE, n};
  *p = (uintptr_t)at;
  return CUDA_SUCCESS;
}
CUresult drop(Allocs &m, uintptr_t p) {
  auto i = m.find(p);
  if (i == m.end()) return CUDA_ERROR_INVALID_VALUE;
  Alloc a = i->second;
  CUresult r = CUDA_SUCCESS;
  for (size_t at = a.size; at < (a.size + ALIGN - 1) / ALIGN * ALIGN; at++) {
    if (((unsigned char *)p)[at] == PAST) continue;
    fprintf(stderr, "emulated driver: something wrote %zu bytes past the end of %zu bytes\n", at - a.size, a.size);
    r = sticky = CUDA_ERROR_ILLEGAL_ADDRESS;
    break;
  }
  munmap(a.map, a.mapped);
  m.erase(i);
  return r;
}
CUresult copy(void *to, const void *from, size_t n) {
  memcpy(to, from, n);
  return CUDA_SUCCESS;
}

// record_launch runs a launch and writes it down: a line of text, then, for each
// allocation that a parameter points into, its address and size in a line, its
// bytes before and its bytes after.
CUresult record_launch(FILE *f, Kernel *k, emu_dim3 grid, emu_dim3 block, unsigned dynamic, const std::vector<char> &packed) {
  fprintf(f, "launch %s %d %d %d %d %u", k->name.c_str(), grid.x, grid.y, grid.z, block.x * block.y * block.z, dynamic);
  std::map<uintptr_t, std::string> before;
  for (size_t i = 0, at = 0; i < k->sizes.size(); at += (k->sizes[i++] + 15) & ~15u) {
    uint64_t v = 0;
    memcpy(&v, &packed[at], k->sizes[i]);
    fprintf(f, " %llu", (unsigned long long)v);
    auto m = device_memory.upper_bound(v);
    if (k->sizes[i] != 8 || !v || m == device_memory.begin()) continue;
    --m;
    if (v < m->first + m->second.size) before[m->first] = std::string((const char *)m->first, m->second.size);
  }
  fputc('\n', f);
  CUresult r = run_grid(k, grid, block, dynamic, packed);
  for (auto &b : before) {
    fprintf(f, "memory %zu %zu\n", (size_t)b.first, b.second.size());
    fwrite(b.second.data(), 1, b.second.size(), f);
    fwrite((const void *)b.first, 1, b.second.size(), f);
  }
  fflush(f);
  return r;
}

} // namespace

#define API extern "C" __attribute__((visibility("default"))) CUresult
// Every function that needs a context begins so.
#define ENTER \
  std::lock_guard<std::recursive_mutex> held(lock); \
  if (contexts.empty() || !contexts.back()) return CUDA_ERROR_INVALID_CONTEXT; \
  if (sticky) return sticky; \
  if (CUresult injected_code = injected(__func__)) return injected_code

// ---- devices and contexts

API cuInit(unsigned) { return injected(__func__) ? CUDA_ERROR_NO_DEVICE : CUDA_SUCCESS; }
API cuDriverGetVersion(int *v) { *v = 13000; return CUDA_SUCCESS; }
API cuDeviceGetCount(int *n) { *n = setting("ATTNSCOPE_EMU_DEVICES", 1); return CUDA_SUCCESS; }
API cuDeviceGet(CUdevice *d, int i) {
  if (i < 0 || i >= setting("ATTNSCOPE_EMU_DEVICES", 1)) return CUDA_ERROR_INVALID_DEVICE;
  *d = i;
  return CUDA_SUCCESS;
}
API cuDeviceGetName(char *s, int n, CUdevice) { snprintf(s, n, "attnscope CPU emulator"); return CUDA_SUCCESS; }
API cuDeviceTotalMem_v2(size_t *n, CUdevice) { *n = total_memory(); return CUDA_SUCCESS; }
API cuDeviceGetUuid(CUuuid *u, CUdevice) { memset(u, 0xE1, sizeof *u); return CUDA_SUCCESS; }
API cuDeviceGetAttribute(int *v, CUdevice_attribute a, CUdevice) {
  static const std::map<int, int> known = {
    {1, 1024}, {2, 1024}, {3, 1024}, {4, 64},          // threads of a block, in all and by direction
    {5, 2147483647}, {6, 65535}, {7, 65535},           // blocks of a grid
    {8, 49152}, {97, 101376}, {12, 65536}, {10, 32},   // shared memory, with opting in, registers, warp
    {16, 2}, {39, 2048}, {75, 8}, {76, 6},             // processors, their threads, compute capability
    {13, 1500000}, {36, 10000000}, {37, 384},          // clocks in kHz, memory bus in bits
  };
  auto i = known.find(a);
  *v = i == known.end() ? 0 : i->second;
  return CUDA_SUCCESS;
}
API cuCtxCreate_v2(CUcontext *c, unsigned flags, CUdevice d) {
  std::lock_guard<std::recursive_mutex> held(lock);
  if (CUresult r = injected(__func__)) return r;
  *c = new CUctx_st{d, flags};
  contexts.push_back(*c);
  return CUDA_SUCCESS;
}
API cuCtxDestroy_v2(CUcontext c) {
  std::lock_guard<std::recursive_mutex> held(lock);
  wait_all();
  for (auto &x : contexts) if (x == c) x = nullptr;
  delete c;
  return CUDA_SUCCESS;
}
API cuCtxSetCurrent(CUcontext c) {
  if (contexts.empty()) contexts.push_back(c);
  else contexts.back() = c;
  return CUDA_SUCCESS;
}
API cuCtxGetCurrent(CUcontext *c) { *c = contexts.empty() ? nullptr : contexts.back(); return CUDA_SUCCESS; }
API cuCtxPushCurrent_v2(CUcontext c) { contexts.push_back(c); return CUDA_SUCCESS; }
API cuCtxPopCurrent_v2(CUcontext *c) {
  if (contexts.empty()) return CUDA_ERROR_INVALID_CONTEXT;
  if (c) *c = contexts.back();
  contexts.pop_back();
  return CUDA_SUCCESS;
}
API cuCtxGetDevice(CUdevice *d) { ENTER; *d = contexts.back()->device; return CUDA_SUCCESS; }
API cuDevicePrimaryCtxRetain(CUcontext *c, CUdevice d) {
  static CUctx_st primary[16];
  std::lock_guard<std::recursive_mutex> held(lock);
  if (CUresult r = injected(__func__)) return r;
  primary[d & 15].device = d;
  *c = &primary[d & 15];
  return CUDA_SUCCESS;
}
API cuDevicePrimaryCtxRelease_v2(CUdevice) { return CUDA_SUCCESS; }
API cuCtxSynchronize(void) { ENTER; return wait_all(); }

// ---- memory

API cuMemAlloc_v2(CUdeviceptr *p, size_t n) {
  ENTER;
  if (!n) return CUDA_ERROR_INVALID_VALUE;
  if (used + n > total_memory()) return CUDA_ERROR_OUT_OF_MEMORY;
  used += n;
  return take(device_memory, n, (uintptr_t *)p, 0xff);
}
API cuMemFree_v2(CUdeviceptr p) {
  ENTER;
  if (CUresult r = wait_all()) return r;
  auto i = device_memory.find(p);
  if (i != device_memory.end()) used -= i->second.size;
  return drop(device_memory, p);
}
API cuMemGetInfo_v2(size_t *free, size_t *total) { ENTER; *total = total_memory(); *free = *total - used; return CUDA_SUCCESS; }
API cuMemHostAlloc(void **p, size_t n, unsigned) { ENTER; return take(host_memory, n, (uintptr_t *)p, 0); }
API cuMemAllocHost_v2(void **p, size_t n) { return cuMemHostAlloc(p, n, 0); }
API cuMemFreeHost(void *p) {
  ENTER;
  CUresult r = wait_all();
  return r ? r : drop(host_memory, (uintptr_t)p);
}
API cuMemcpyHtoD_v2(CUdeviceptr to, const void *from, size_t n) {
  ENTER;
  if (!on_device(to, n)) return CUDA_ERROR_INVALID_VALUE;
  CUresult r = wait_legacy();
  return r ? r : copy((void *)to, from, n);
}
API cuMemcpyDtoH_v2(void *to, CUdeviceptr from, size_t n) {
  ENTER;
  if (!on_device(from, n)) return CUDA_ERROR_INVALID_VALUE;
  CUresult r = wait_legacy();
  return r ? r : copy(to, (void *)from, n);
}
API cuMemcpyDtoDAsync_v2(CUdeviceptr to, CUdeviceptr from, size_t n, CUstream s) {
  ENTER;
  if (!on_device(to, n) || !on_device(from, n)) return CUDA_ERROR_INVALID_VALUE;
  return put(s, [=] { memmove((void *)to, (void *)from, n); return CUDA_SUCCESS; });
}
API cuMemcpyDtoD_v2(CUdeviceptr to, CUdeviceptr from, size_t n) { return cuMemcpyDtoDAsync_v2(to, from, n, nullptr); }
API cuMemcpyHtoDAsync_v2(CUdeviceptr to, const void *from, size_t n, CUstream s) {
  ENTER;
  if (!on_device(to, n)) return CUDA_ERROR_INVALID_VALUE;
  if (inside(host_memory, (uintptr_t)from, n)) return put(s, [=] { return copy((void *)to, from, n); });
  std::vector<char> staged((const char *)from, (const char *)from + n); // pageable memory is read at once
  return put(s, [=] { return copy((void *)to, staged.data(), n); });
}
API cuMemcpyDtoHAsync_v2(void *to, CUdeviceptr from, size_t n, CUstream s) {
  ENTER;
  if (!on_device(from, n)) return CUDA_ERROR_INVALID_VALUE;
  CUresult r = put(s, [=] { return copy(to, (void *)from, n); });
  if (inside(host_memory, (uintptr_t)to, n)) return r;
  drain(s ? s : &null_stream); // into pageable memory it is waited for
  return sticky;
}
API cuMemsetD8Async(CUdeviceptr to, unsigned char v, size_t n, CUstream s) {
  ENTER;
  if (!on_device(to, n)) return CUDA_ERROR_INVALID_VALUE;
  return put(s, [=] { memset((void *)to, v, n); return CUDA_SUCCESS; });
}
API cuMemsetD32Async(CUdeviceptr to, unsigned v, size_t n, CUstream s) {
  ENTER;
  if (!on_device(to, n * 4)) return CUDA_ERROR_INVALID_VALUE;
  return put(s, [=] { std::fill_n((unsigned *)to, n, v); return CUDA_SUCCESS; });
}
API cuMemsetD8_v2(CUdeviceptr to, unsigned char v, size_t n) { return cuMemsetD8Async(to, v, n, nullptr); }
API cuMemsetD32_v2(CUdeviceptr to, unsigned v, size_t n) { return cuMemsetD32Async(to, v, n, nullptr); }

// ---- modules: the PTX names the entries; each must have a body compiled for the
// host, with parameters of the same sizes

API cuModuleLoadDataEx(CUmodule *m, const void *image, unsigned, CUjit_option *, void **) {
  ENTER;
  std::string ptx((const char *)image);
  if (ptx.find(".version") == ptx.npos) return CUDA_ERROR_INVALID_IMAGE;
  auto *mod = new CUmod_st;
  for (size_t at = 0; (at = ptx.find(".entry ", at)) != ptx.npos;) {
    size_t name0 = ptx.find_first_not_of(" \t", at + 7), name1 = ptx.find_first_of("( \t\n", name0), close = ptx.find(')', name1);
    std::string name = ptx.substr(name0, name1 - name0);
    at = close;
    auto k = kernels().find(name);
    if (k == kernels().end()) {
      fprintf(stderr, "emulated driver: kernel %s is in the PTX only\n", name.c_str());
      delete mod;
      return CUDA_ERROR_INVALID_IMAGE;
    }
    std::vector<unsigned> sizes;
    for (size_t p = name1; (p = ptx.find(".param .", p)) < close; p += 8) {
      std::string type = ptx.substr(p + 8, 3);
      sizes.push_back(type == "u64" || type == "b64" ? 8 : 4);
    }
    if (sizes != k->second.sizes) {
      fprintf(stderr, "emulated driver: kernel %s has other parameters in the PTX: run go generate\n", name.c_str());
      delete mod;
      return CUDA_ERROR_INVALID_IMAGE;
    }
    mod->functions[name] = {&k->second};
  }
  *m = mod;
  return CUDA_SUCCESS;
}
API cuModuleLoadData(CUmodule *m, const void *image) { return cuModuleLoadDataEx(m, image, 0, nullptr, nullptr); }
API cuModuleUnload(CUmodule m) { ENTER; wait_all(); delete m; return CUDA_SUCCESS; }
API cuModuleGetFunction(CUfunction *f, CUmodule m, const char *name) {
  ENTER;
  auto i = m->functions.find(name);
  if (i == m->functions.end()) return CUDA_ERROR_NOT_FOUND;
  *f = &i->second;
  return CUDA_SUCCESS;
}
API cuFuncSetAttribute(CUfunction f, CUfunction_attribute a, int v) {
  ENTER;
  if (a != CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES) return CUDA_SUCCESS;
  if (v > 101376) return CUDA_ERROR_INVALID_VALUE; // as on the smallest cards from Ampere on
  f->kernel->dynamic_limit = v;
  return CUDA_SUCCESS;
}
static CUresult prepare(Launch *l, CUfunction f, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz, unsigned dynamic,
                        void **params) {
  Kernel *k = f->kernel;
  if (!gx || !gy || !gz || gx > 2147483647u || gy > 65535 || gz > 65535 || !bx || !by || !bz || bx * by * bz > (unsigned)k->threads ||
      dynamic > k->dynamic_limit) return CUDA_ERROR_INVALID_VALUE;
  l->kernel = k, l->dynamic = dynamic;
  l->packed.clear();
  for (size_t i = 0; i < k->sizes.size(); i++) {
    size_t at = l->packed.size();
    l->packed.resize(at + ((k->sizes[i] + 15) & ~15u));
    memcpy(&l->packed[at], params[i], k->sizes[i]);
  }
  l->grid = {(int)gx, (int)gy, (int)gz}, l->block = {(int)bx, (int)by, (int)bz};
  return CUDA_SUCCESS;
}
static CUresult enqueue(const Launch &l, CUstream s) {
  Kernel *k = l.kernel;
  static const char *record_to = getenv("ATTNSCOPE_EMU_RECORD");
  static FILE *record = record_to && *record_to ? fopen(record_to, "ab") : nullptr;
  static std::map<Kernel *, std::pair<int, int>> launches; // how many there were, and which is recorded next
  bool chosen = false;
  if (record) {
    auto &n = launches[k];
    int step = n.first ? 1 + n.second / 4 : 1; // less and less often, odd and even
    if (n.first++ == n.second) chosen = true, n.second += step;
    const char *all = getenv("ATTNSCOPE_EMU_RECORD_ALL");
    for (; all && *all; all = *(all += strcspn(all, ":")) ? all + 1 : all) chosen |= !strncmp(k->name.c_str(), all, strcspn(all, ":"));
  }
  return put(s, [=] {
    return chosen ? record_launch(record, k, l.grid, l.block, l.dynamic, l.packed) : run_grid(k, l.grid, l.block, l.dynamic, l.packed);
  });
}
API cuLaunchKernel(CUfunction f, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz, unsigned dynamic, CUstream s,
                   void **params, void **) {
  ENTER;
  Launch l;
  CUresult r = prepare(&l, f, gx, gy, gz, bx, by, bz, dynamic, params);
  return r ? r : enqueue(l, s);
}

// ---- graphs of kernels

static CUresult prepare(Launch *l, const CUDA_KERNEL_NODE_PARAMS *p) {
  return prepare(l, p->func, p->gridDimX, p->gridDimY, p->gridDimZ, p->blockDimX, p->blockDimY, p->blockDimZ, p->sharedMemBytes, p->kernelParams);
}
API cuGraphCreate(CUgraph *g, unsigned) { ENTER; *g = new CUgraph_st; return CUDA_SUCCESS; }
API cuGraphDestroy(CUgraph g) {
  ENTER;
  for (auto n : g->nodes) delete n;
  delete g;
  return CUDA_SUCCESS;
}
API cuGraphAddKernelNode_v2(CUgraphNode *n, CUgraph g, const CUgraphNode *after, size_t count, const CUDA_KERNEL_NODE_PARAMS *p) {
  ENTER;
  auto *node = new CUgraphNode_st{{}, {after, after + count}};
  if (CUresult r = prepare(&node->launch, p)) { delete node; return r; }
  g->nodes.push_back(*n = node);
  return CUDA_SUCCESS;
}
API cuGraphInstantiateWithFlags(CUgraphExec *e, CUgraph g, unsigned long long) {
  ENTER;
  *e = new CUgraphExec_st;
  auto &done = (*e)->launches;
  while (done.size() < g->nodes.size()) {
    size_t before = done.size();
    for (size_t i = g->nodes.size(); i-- && done.size() == before;) {
      CUgraphNode n = g->nodes[i];
      bool free = !done.count(n);
      for (CUgraphNode x : n->after) free &= done.count(x) > 0;
      if (free) done[n] = n->launch, (*e)->nodes.push_back(n);
    }
    if (done.size() == before) return CUDA_ERROR_INVALID_VALUE;
  }
  return CUDA_SUCCESS;
}
API cuGraphExecKernelNodeSetParams_v2(CUgraphExec e, CUgraphNode n, const CUDA_KERNEL_NODE_PARAMS *p) {
  ENTER;
  auto i = e->launches.find(n);
  if (i == e->launches.end() || p->func->kernel != i->second.kernel) return CUDA_ERROR_INVALID_VALUE;
  return prepare(&i->second, p);
}
API cuGraphLaunch(CUgraphExec e, CUstream s) {
  ENTER;
  for (CUgraphNode n : e->nodes)
    if (CUresult r = enqueue(e->launches[n], s)) return r;
  return CUDA_SUCCESS;
}
API cuGraphExecDestroy(CUgraphExec e) { ENTER; delete e; return CUDA_SUCCESS; }

// ---- streams and events

API cuStreamCreate(CUstream *s, unsigned flags) {
  ENTER;
  *s = new CUstream_st;
  (*s)->flags = flags;
  streams.push_back(*s);
  return CUDA_SUCCESS;
}
API cuStreamCreateWithPriority(CUstream *s, unsigned flags, int) { return cuStreamCreate(s, flags); }
API cuStreamDestroy_v2(CUstream s) {
  ENTER;
  drain(s);
  for (size_t i = 1; i < streams.size(); i++) if (streams[i] == s) streams.erase(streams.begin() + i--);
  delete s;
  return CUDA_SUCCESS;
}
API cuStreamSynchronize(CUstream s) {
  ENTER;
  if (!s) return wait_legacy();
  before(s);
  drain(s);
  return sticky;
}
API cuStreamQuery(CUstream s) {
  ENTER;
  if (!s) s = &null_stream;
  before(s);
  step(s);
  return sticky ? sticky : s->queue.empty() ? CUDA_SUCCESS : CUDA_ERROR_NOT_READY;
}
API cuStreamWaitEvent(CUstream s, CUevent e, unsigned) {
  ENTER;
  if (!s) s = &null_stream;
  if (e->recorded) s->queue.push_back({nullptr, e, e->recorded, true});
  return CUDA_SUCCESS;
}
API cuEventCreate(CUevent *e, unsigned) { ENTER; *e = new CUevent_st; return CUDA_SUCCESS; }
API cuEventDestroy_v2(CUevent e) { ENTER; if (e->stream) drain(e->stream); delete e; return CUDA_SUCCESS; }
API cuEventRecord(CUevent e, CUstream s) {
  ENTER;
  if (!s) s = &null_stream;
  before(s);
  e->stream = s;
  s->queue.push_back({nullptr, e, ++e->recorded});
  return CUDA_SUCCESS;
}
API cuEventQuery(CUevent e) {
  ENTER;
  if (e->done < e->recorded) step(e->stream);
  return sticky ? sticky : e->done >= e->recorded ? CUDA_SUCCESS : CUDA_ERROR_NOT_READY;
}
API cuEventSynchronize(CUevent e) {
  ENTER;
  while (e->done < e->recorded && step(e->stream)) {}
  return sticky;
}
API cuEventElapsedTime(float *ms, CUevent a, CUevent b) {
  ENTER;
  if (a->done < a->recorded || b->done < b->recorded) return CUDA_ERROR_NOT_READY;
  *ms = b->time - a->time;
  return CUDA_SUCCESS;
}

// ---- for the emulated cuBLAS, which queues its work in the order of the stream

extern "C" __attribute__((visibility("default"))) int attnscope_emu_enqueue(CUstream s, void (*f)(void *), void *arg) {
  ENTER;
  return put(s, [=] { f(arg); return CUDA_SUCCESS; });
}
extern "C" __attribute__((visibility("default"))) int attnscope_emu_on_device(CUdeviceptr p, size_t n) {
  std::lock_guard<std::recursive_mutex> held(lock);
  return on_device(p, n);
}
