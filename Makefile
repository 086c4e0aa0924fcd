# Everything a contributor runs. `make test` is what the continuous check runs.
GO ?= go
ATTNSCOPE = $(GO) run ./cmd/attnscope

# The commit, for attnscope version; "+changes" where files differ from it.
REVISION ?= $(shell git rev-parse --short=12 HEAD 2>/dev/null && { git diff --quiet HEAD || echo +changes; })
VERSION = $(shell sed -n 's/^const release = "\(.*\)"/\1/p' cmd/attnscope/version.go)
PLATFORMS ?= linux/amd64 linux/arm64 darwin/amd64 darwin/arm64 windows/amd64
empty =
LINK = -buildvcs=false -ldflags '-s -w -buildid= -X main.revision=$(subst $(empty) ,,$(REVISION))'

.PHONY: demo test test-long fuzz build release container lint bench reproduce clean

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

container: ## an image of the program alone, by podman, buildah or docker
	$(or $(CONTAINER),$(shell command -v podman || command -v docker || echo buildah)) build -f Containerfile --build-arg REVISION=$(subst $(empty) ,,$(REVISION)) -t attnscope:$(VERSION) -t attnscope:latest .

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
	rm -rf attnscope demo build dist
