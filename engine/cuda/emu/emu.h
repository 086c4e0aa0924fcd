// The parts of the emulated driver.
#pragma once
#include <cuda.h>
#include <cstddef>
#include <functional>
#include <map>
#include <string>
#include <vector>
#include "device.h"

struct Kernel {
  std::string name;
  int threads; // most of a block, its launch bound
  void *fn;
  emu_call call;
  std::vector<unsigned> sizes;     // of parameters, bytes
  size_t dynamic_limit = 48 << 10; // shared memory a launch may ask for
};

std::map<std::string, Kernel> &kernels();
long setting(const char *name, long otherwise); // from the environment

// Runs all blocks; params are packed at multiples of 16 bytes.
CUresult run_grid(Kernel *k, emu_dim3 grid, emu_dim3 block, size_t dynamic, std::vector<char> params);
