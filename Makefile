# Everything a contributor runs. `make test` is what the continuous check runs.
GO ?= go
ATTNSCOPE = $(GO) run ./cmd/attnscope

.PHONY: demo test test-long fuzz build lint bench reproduce clean cuda

demo: ## run the main job on the default model and the shipped prompts
	$(ATTNSCOPE) demo -o demo

build:
	CGO_ENABLED=0 $(GO) build -trimpath -o attnscope ./cmd/attnscope

# gorgonia.org/cu looks for cuda.h and libcuda where a toolkit would put them; ours come first.
CUDA = build/cuda
CUDA_ENV = CGO_ENABLED=1 CGO_CFLAGS="-O2 -g -I$(CURDIR)/capture/cuda/include" CGO_LDFLAGS="-L$(CURDIR)/$(CUDA) -ldl"

cuda: $(CUDA)/libcuda.a ## the program with the CUDA backend; needs gcc, neither toolkit nor card
	$(CUDA_ENV) $(GO) build -tags cuda -trimpath -o attnscope ./cmd/attnscope

$(CUDA)/libcuda.a: capture/cuda/tramp/tramp.c capture/cuda/tramp/symbols.h
	mkdir -p $(CUDA)
	gcc -O2 -fPIC -Wall -c capture/cuda/tramp/tramp.c -o $(CUDA)/tramp.o
	rm -f $@ && ar rcs $@ $(CUDA)/tramp.o

test: lint
	CGO_ENABLED=0 $(GO) build ./...
	$(GO) test -count=1 ./...
	ATTNSCOPE_CPU=avx2 $(GO) test -count=1 ./internal/simd ./capture/model
	ATTNSCOPE_CPU=portable $(GO) test -count=1 ./internal/simd ./capture/model

lint:
	@test -z "$$(gofmt -l $$(git ls-files '*.go'))" || { gofmt -l $$(git ls-files '*.go'); echo 'run gofmt'; exit 1; }
	$(GO) vet ./...

test-long: ## what needs the default model, PyTorch or an hour
	ATTNSCOPE_LONG=1 $(GO) test -timeout 3h ./...
	./fuzz.sh 10m
	$(ATTNSCOPE) reproduce all --quick -o build/reproduce-quick

fuzz: ## every fuzz target for a while
	./fuzz.sh 10s

reproduce: ## the paper's experiments on the default model, hours on two cores
	$(ATTNSCOPE) reproduce all -o results/smollm2-135m

bench:
	$(GO) test -run '^$$' -bench . -benchtime 1s ./...

clean:
	rm -rf attnscope demo build
