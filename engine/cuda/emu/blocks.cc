// Runs the blocks of a grid: each block's threads are fibers of one worker
// thread, blocks are shared out over the workers.
#include "emu.h"
#include <atomic>
#include <condition_variable>
#include <csetjmp>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <mutex>
#include <sys/mman.h>
#include <thread>
#undef threadIdx
#undef blockIdx
#undef blockDim
#undef gridDim

thread_local emu_thread *emu_self;

// emu_switch stores the stack pointer in *save and goes on at load.
extern "C" void emu_switch(void **save, void *load);
#if defined(__x86_64__)
__asm__(".text\n.globl emu_switch\n.hidden emu_switch\nemu_switch:\n"
        " push %rbp\n push %rbx\n push %r12\n push %r13\n push %r14\n push %r15\n"
        " mov %rsp,(%rdi)\n mov %rsi,%rsp\n"
        " pop %r15\n pop %r14\n pop %r13\n pop %r12\n pop %rbx\n pop %rbp\n ret\n");
#else
#error "the emulated driver needs a context switch for this processor"
#endif

std::map<std::string, Kernel> &kernels() {
  static std::map<std::string, Kernel> all;
  return all;
}
void emu_register(const char *name, int threads, void *fn, emu_call call, const unsigned *sizes, unsigned n) {
  kernels()[name] = Kernel{name, threads, fn, call, {sizes, sizes + n}};
}
long setting(const char *name, long otherwise) {
  const char *s = getenv(name);
  return s && *s ? atol(s) : otherwise;
}

bool emu_cuts_off;
float emu_cut_off(float c, const float *a, const float *b, int stride) {
  double part[9] = {c}, top = 0, sum = 0;
  for (int k = 0; k < 8; k++) part[k + 1] = (double)a[k] * b[k * stride];
  for (double p : part) top = fmax(top, fabs(p));
  if (top == 0 || !std::isfinite(top)) {
    for (double p : part) sum += p;
    return (float)sum;
  }
  int last = ilogb(top) - 24;
  for (double p : part) sum += trunc(ldexp(p, -last));
  if (sum == 0) return 0;
  int drop = ilogb(sum) - 23;
  return (float)ldexp(drop > 0 ? ldexp(trunc(ldexp(sum, -drop)), drop) : sum, last);
}

namespace {

enum State { READY, AT_BARRIER, AT_COLLECTIVE, DONE };
const size_t STACK = 64 << 10, PAGE = 4096, DYNAMIC = 256 << 10;

struct Copy { void *dst; const void *src; int bytes, size, group; };
struct Fiber {
  emu_thread t;
  void *sp;
  State state;
  int line; // of the barrier
  int group; // copies committed
  std::vector<Copy> copies;
};
struct Warp {
  void *lanes[32];
  unsigned arrived;
  void (*f)(void **);
};
struct Worker {
  std::vector<Fiber> fibers;
  std::vector<Warp> warps;
  char *stacks = nullptr, *dynamic = nullptr;
  size_t stack_count = 0;
  void *home;
  Fiber *current;
  Kernel *kernel;
  void **params;
  const char *fault;
  sigjmp_buf escape;
};
thread_local Worker *worker;
thread_local bool in_kernel;

void fiber_main() {
  worker->kernel->call(worker->kernel->fn, worker->params);
  worker->current->state = DONE;
  void *unused;
  emu_switch(&unused, worker->home);
  abort();
}

void park(State s) {
  Fiber *f = worker->current;
  f->state = s;
  emu_switch(&f->sp, worker->home);
}

void *map_guarded(size_t n) { // n bytes, then a page nobody may touch
  char *p = (char *)mmap(nullptr, n + PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (p == MAP_FAILED) abort();
  mprotect(p + n, PAGE, PROT_NONE);
  return p;
}

void start(Worker &w, emu_dim3 b, emu_dim3 grid, emu_dim3 block, size_t dynamic) {
  unsigned n = block.x * block.y * block.z;
  if (w.stack_count < n) {
    if (w.stacks) munmap(w.stacks, w.stack_count * STACK);
    w.stacks = (char *)mmap(nullptr, n * STACK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    w.stack_count = n;
  }
  if (!w.dynamic) w.dynamic = (char *)map_guarded(DYNAMIC);
  unsigned char *dyn = (unsigned char *)w.dynamic + DYNAMIC - (dynamic + 15) / 16 * 16; // its end meets the guard
  memset(dyn, 0xff, DYNAMIC - (dyn - (unsigned char *)w.dynamic));                      // NaN until written
  w.fibers.resize(n);
  w.warps.assign((n + 31) / 32, Warp{});
  w.fault = nullptr;
  for (unsigned i = 0; i < n; i++) {
    Fiber &f = w.fibers[i];
    int x = block.x, y = block.y;
    f.t = {{(int)i % x, (int)i / x % y, (int)i / x / y}, b, block, grid, i & 31, i >> 5, dyn};
    f.state = READY, f.group = 0;
    f.copies.clear();
    void **sp = (void **)(w.stacks + (i + 1) * STACK - 64);
    *--sp = nullptr;
    *--sp = (void *)fiber_main;
    f.sp = sp - 6; // room of the registers that emu_switch pops
  }
}

CUresult complain(Worker &w, const char *what) {
  fprintf(stderr, "emulated driver: %s, block (%d, %d, %d): %s\n", w.kernel->name.c_str(), w.fibers[0].t.bid.x, w.fibers[0].t.bid.y,
          w.fibers[0].t.bid.z, what);
  return CUDA_ERROR_LAUNCH_FAILED;
}

CUresult run_block(Worker &w, emu_dim3 b, emu_dim3 grid, emu_dim3 block, size_t dynamic, unsigned order) {
  start(w, b, grid, block, dynamic);
  unsigned n = w.fibers.size();
  if (sigsetjmp(w.escape, 1)) return CUDA_ERROR_ILLEGAL_ADDRESS;
  for (unsigned live = n;;) {
    bool moved = false;
    for (unsigned i = 0; i < n; i++) {
      Fiber &f = w.fibers[order == 1 ? n - 1 - i : order > 1 ? (i * 7919u + order) % n : i];
      if (f.state != READY) continue;
      w.current = &f, emu_self = &f.t;
      emu_switch(&w.home, f.sp);
      live -= f.state == DONE;
      moved = true;
      if (w.fault) return complain(w, w.fault);
    }
    if (!live) return CUDA_SUCCESS;
    if (moved) continue;
    unsigned waiting = 0;
    int line = 0;
    for (Fiber &f : w.fibers) {
      if (f.state != AT_BARRIER) continue;
      if (waiting++ && f.line != line) return complain(w, "threads wait at two different barriers");
      line = f.line;
    }
    if (waiting != live) return complain(w, "some threads wait at a barrier or a warp's instruction that others never reach");
    for (Fiber &f : w.fibers) if (f.state == AT_BARRIER) f.state = READY;
  }
}

struct sigaction old_handler;
void on_fault(int s, siginfo_t *info, void *context) {
  if (!in_kernel) {
    if (old_handler.sa_flags & SA_SIGINFO) old_handler.sa_sigaction(s, info, context);
    else signal(s, SIG_DFL);
    return;
  }
  const emu_thread &t = *emu_self;
  fprintf(stderr, "emulated driver: %s: illegal address %p, block (%d, %d, %d), thread (%d, %d, %d)\n", worker->kernel->name.c_str(),
          info->si_addr, t.bid.x, t.bid.y, t.bid.z, t.tid.x, t.tid.y, t.tid.z);
  siglongjmp(worker->escape, 1);
}

// run_workers runs f once on each of n threads that stay. Their signals are
// blocked save faults: the callers are threads of Go.
void run_workers(unsigned n, const std::function<void(Worker &)> &f) {
  struct Pool {
    std::mutex m;
    std::condition_variable begin, end;
    const std::function<void(Worker &)> *f;
    unsigned round = 0, left = 0, n = 0;
  };
  static Pool &p = *new Pool;
  std::unique_lock<std::mutex> l(p.m);
  if (!p.n) {
    sigset_t all, old;
    sigfillset(&all);
    sigdelset(&all, SIGSEGV);
    sigdelset(&all, SIGBUS);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    for (p.n = n; n--;) {
      std::thread([] {
        worker = new Worker;
        unsigned seen = 0;
        std::unique_lock<std::mutex> l(p.m);
        for (;;) {
          p.begin.wait(l, [&] { return p.round != seen; });
          seen = p.round;
          auto f = p.f;
          l.unlock();
          (*f)(*worker);
          l.lock();
          if (!--p.left) p.end.notify_all();
        }
      }).detach();
    }
    pthread_sigmask(SIG_SETMASK, &old, nullptr);
  }
  p.f = &f, p.left = p.n, p.round++;
  p.begin.notify_all();
  p.end.wait(l, [&] { return !p.left; });
}

} // namespace

void emu_barrier(int line) {
  worker->current->line = line;
  park(AT_BARRIER);
}

void emu_collective(void (*f)(void **), void *mine) {
  Worker &w = *worker;
  const emu_thread &t = *emu_self;
  Warp &warp = w.warps[t.warp];
  if (warp.arrived == 0) warp.f = f;
  if (warp.f != f) {
    w.fault = "lanes of a warp are at two different instructions that need all of them";
    park(AT_COLLECTIVE);
  }
  warp.lanes[t.lane] = mine;
  if (++warp.arrived < 32) return park(AT_COLLECTIVE);
  f(warp.lanes);
  warp.arrived = 0;
  for (unsigned i = 0; i < 32; i++) {
    if (i != t.lane) w.fibers[t.warp * 32 + i].state = READY;
  }
}

void emu_complain(const char *fault) { worker->fault = fault; }

void emu_copy_async(void *dst, const void *src, int bytes, int size) {
  if (((uintptr_t)dst | (uintptr_t)src) % size || bytes > size) {
    worker->fault = "a misaligned asynchronous copy";
    park(AT_COLLECTIVE);
  }
  Fiber *f = worker->current;
  f->copies.push_back({dst, src, bytes, size, f->group});
}
void emu_copy_commit() { worker->current->group++; }
void emu_copy_wait(int pending) {
  Fiber *f = worker->current;
  size_t done = 0;
  while (done < f->copies.size() && f->copies[done].group < f->group - pending) {
    const Copy &c = f->copies[done++];
    memcpy(c.dst, c.src, c.bytes);
    memset((char *)c.dst + c.bytes, 0, c.size - c.bytes);
  }
  f->copies.erase(f->copies.begin(), f->copies.begin() + done);
}

CUresult run_grid(Kernel *k, emu_dim3 grid, emu_dim3 block, size_t dynamic, std::vector<char> params) {
  static bool once = [] {
    struct sigaction sa = {};
    sa.sa_sigaction = on_fault;
    sa.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER;
    sigaction(SIGSEGV, &sa, &old_handler);
    return true;
  }();
  (void)once;
  static const unsigned threads = setting("ATTNSCOPE_EMU_THREADS", std::thread::hardware_concurrency());
  static const unsigned order = setting("ATTNSCOPE_EMU_ORDER", 0);
  emu_cuts_off = setting("ATTNSCOPE_EMU_CUT_OFF", 0);
  std::vector<void *> at;
  size_t offset = 0;
  for (unsigned s : k->sizes) {
    at.push_back(&params[offset]);
    offset += (s + 15) & ~15u;
  }
  size_t blocks = (size_t)grid.x * grid.y * grid.z;
  std::atomic<size_t> next{0};
  std::atomic<int> result{CUDA_SUCCESS};
  run_workers(threads, [&](Worker &w) {
    w.kernel = k, w.params = at.data();
    in_kernel = true;
    for (size_t i; !result && (i = next++) < blocks;) {
      size_t b = order ? blocks - 1 - i : i;
      emu_dim3 id = {int(b % grid.x), int(b / grid.x % grid.y), int(b / grid.x / grid.y)};
      if (CUresult r = run_block(w, id, grid, block, dynamic, order)) result = r;
    }
    in_kernel = false;
  });
  return (CUresult)result.load();
}
