# Everything a contributor runs. `make test` is what the continuous check runs.
GO ?= go
ATTNSCOPE = $(GO) run ./cmd/attnscope

# The commit, for attnscope version; "+changes" where files differ from it.
REVISION ?= $(shell git rev-parse --short=12 HEAD 2>/dev/null && { git diff --quiet HEAD || echo +changes; })
VERSION = $(shell sed -n 's/^const release = "\(.*\)"/\1/p' cmd/attnscope/version.go)
PLATFORMS ?= linux/amd64 linux/arm64 darwin/amd64 darwin/arm64 windows/amd64 windows/arm64
empty =
LINK = -buildvcs=false -ldflags '-s -w -buildid= -X main.revision=$(subst $(empty) ,,$(REVISION))'

BUNDLE = build/cuda/attnscope-cuda
.PHONY: same demo test test-long fuzz build release man container lint bench bench-go reproduce clean cuda test-emulated cuda-bundle test-cuda bench-cuda $(BUNDLE)

demo: ## run the main job on the default model and the shipped prompts
	$(ATTNSCOPE) demo -o demo

build:
	CGO_ENABLED=0 $(GO) build -trimpath $(LINK) -o attnscope ./cmd/attnscope

release: ## static binaries in dist/, with checksums: the same bytes from the same commit and Go, wherever they are built
	rm -rf dist && mkdir dist
	for p in $(PLATFORMS); do \
		os=$${p%/*} arch=$${p#*/} exe=; [ $$os = windows ] && exe=.exe; \
		GOFLAGS= GOAMD64=v1 GOARM64=v8.0 CGO_ENABLED=0 GOOS=$$os GOARCH=$$arch \
			$(GO) build -trimpath $(LINK) -o dist/attnscope-$(VERSION)-$$os-$$arch$$exe ./cmd/attnscope || exit 1; \
	done
	cd dist && sha256sum attnscope-* >SHA256SUMS

man: ## the manual page, dist/attnscope.1
	mkdir -p dist && $(ATTNSCOPE) man >dist/attnscope.1

container: ## an image of the program alone, by podman, buildah or docker
	$(or $(CONTAINER),$(shell command -v podman || command -v docker || echo buildah)) build -f Containerfile --build-arg REVISION=$(subst $(empty) ,,$(REVISION)) -t attnscope:$(VERSION) -t attnscope:latest .

# gorgonia.org/cu looks for cuda.h and libcuda where a toolkit would put them; ours come first.
CUDA = build/cuda
CUDA_ENV = CGO_ENABLED=1 CGO_CFLAGS="-O2 -g -I$(CURDIR)/engine/cuda/include" CGO_LDFLAGS="-L$(CURDIR)/$(CUDA) -ldl"
CUDA_GO = $(CUDA_ENV) $(GO)
EMULATED = ATTNSCOPE_LIBCUDA=$(CURDIR)/$(CUDA)/libcuda_emu.so ATTNSCOPE_LIBCUBLAS=$(CURDIR)/$(CUDA)/libcublas_emu.so
BUNDLED_TESTS = ./engine/cuda ./engine/model ./cmd/attnscope
CARD_TESTS = $(BUNDLED_TESTS) ./capture ./analysis/decode
SHARED ?= ../shared

cuda: $(CUDA)/libcuda.a ## the program with the CUDA backend; needs gcc, neither toolkit nor card
	$(CUDA_GO) build -tags cuda -trimpath -o attnscope ./cmd/attnscope

$(CUDA)/libcuda.a: engine/cuda/tramp/tramp.c engine/cuda/tramp/symbols.h
	mkdir -p $(CUDA)
	gcc -O2 -fPIC -Wall -c engine/cuda/tramp/tramp.c -o $(CUDA)/tramp.o
	rm -f $@ && ar rcs $@ $(CUDA)/tramp.o

$(CUDA)/libcuda_emu.so: $(wildcard engine/cuda/emu/* engine/cuda/kernels/*.cu engine/cuda/kernels/*.h engine/cuda/kernels/*.cuh)
	sh engine/cuda/emu/build.sh $(CUDA)

test-emulated: $(CUDA)/libcuda.a $(CUDA)/libcuda_emu.so ## the CUDA backend without a card: no driver, then an emulated one; needs g++
	$(CUDA_GO) vet -tags cuda ./capture/... ./analysis/decode ./cmd/attnscope
	ATTNSCOPE_LIBCUDA= $(CUDA_GO) test -tags cuda -count=1 -run NoCard ./cmd/attnscope
	sh engine/cuda/kernels/check.sh $(CUDA)
	$(EMULATED) $(CUDA_GO) test -tags cuda -count=1 -run 'Card|Handles|Unusable' $(CARD_TESTS)
	$(EMULATED) ATTNSCOPE_LIBCUBLAS=none $(CUDA_GO) test -tags cuda -short -count=1 -run OnCard ./engine/model
	for order in 1 17; do ATTNSCOPE_EMU_ORDER=$$order $(EMULATED) $(CUDA_GO) test -tags cuda -short -count=1 -run OnCard $(CARD_TESTS) || exit 1; done
	$(EMULATED) $(CUDA_GO) test -race -tags cuda -short -count=1 -run OnCard $(CARD_TESTS)

# What a machine with a card and a driver needs to test and measure, and nothing else.
$(BUNDLE): $(CUDA)/libcuda.a
	rm -rf $@ && mkdir -p $@/engine/model $@/shared/fixtures
	$(CUDA_GO) build -tags cuda -trimpath -ldflags '-s -w' -o $@/bench ./engine/cuda/bench
	for p in $(BUNDLED_TESTS); do $(CUDA_GO) test -tags cuda -trimpath -ldflags '-s -w' -c -o $@/$$(basename $$p).test $$p || exit 1; done
	cp -r engine/model/testdata $@/engine/model/
	test ! -d $(SHARED)/fixtures/models || cp -r $(SHARED)/fixtures/models $@/shared/fixtures/
	cp engine/cuda/bench/README.md $@/

cuda-bundle: $(BUNDLE) ## build/cuda/attnscope-cuda.tar.gz, for a machine with a card and without Go
	tar -C $(CUDA) -czf $(BUNDLE).tar.gz attnscope-cuda
	@ls -l $(BUNDLE).tar.gz

test-cuda: $(BUNDLE) ## the backend's tests on a real card; leaves cuda-test.json
	$(BUNDLE)/bench test -dir $(BUNDLE) -o cuda-test.json

bench-cuda: $(BUNDLE) ## captures of two shapes on a real card; leaves cuda-speed.json
	$(BUNDLE)/bench speed -o cuda-speed.json

test: lint
	CGO_ENABLED=0 $(GO) build ./...
	$(GO) test -count=1 ./...
	ATTNSCOPE_CPU=avx2 $(GO) test -count=1 ./internal/simd ./engine/model
	ATTNSCOPE_CPU=portable $(GO) test -count=1 ./internal/simd ./engine/model

lint:
	@test -z "$$(gofmt -l $$(git ls-files '*.go'))" || { gofmt -l $$(git ls-files '*.go'); echo 'run gofmt'; exit 1; }
	$(GO) vet ./...

# A Python with PyTorch for test-long: ATTNSCOPE_PYTHON, else one made here (about 1.5 GB).
TORCH = $(CURDIR)/build/torch/bin/python
$(TORCH):
	python3 -m venv build/torch
	build/torch/bin/pip install --quiet torch transformers==4.57.1 gguf tokenizers sentencepiece safetensors numpy zstandard pandas pyarrow duckdb matplotlib bertviz circuitsvis || { rm -rf build/torch; exit 1; }

test-long: $(if $(ATTNSCOPE_PYTHON),,$(TORCH)) ## what needs the default model, PyTorch or an hour
	ATTNSCOPE_LONG=1 ATTNSCOPE_PYTHON=$(or $(ATTNSCOPE_PYTHON),$(TORCH)) $(GO) test -timeout 3h ./...
	./fuzz.sh 10m
	$(ATTNSCOPE) reproduce all --quick -o build/reproduce-quick

fuzz: ## every fuzz target for a while
	./fuzz.sh 10s

reproduce: ## the paper's experiments on the default model, about two hours on two cores; SETS="-p qasper=qasper.jsonl ...": on your prompts
	$(ATTNSCOPE) reproduce all -o results/smollm2-135m --captures build/captures $(SETS)

bench: ## against PyTorch and llama.cpp, about an hour; QUICK=1: a quarter of it. BENCH_PYTHON, BENCH_LLAMA_PYTHON: interpreters that have them
	$(GO) run ./bench -o results/bench $(if $(QUICK),-quick)

bench-go: ## the benchmarks of the packages
	$(GO) test -run '^$$' -bench . -benchtime 1s ./...

clean:
	rm -rf attnscope demo build dist

same: ## checks that a refactoring changed nothing but wording since revision BEFORE; LONG=1: also the experiments on the default model
	./same.sh $(or $(BEFORE),$(error name a revision: make same BEFORE=REV)) $(if $(LONG),-long)
