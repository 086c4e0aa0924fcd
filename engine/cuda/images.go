//go:build cuda

package cuda

import (
	"archive/tar"
	"bytes"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"

	"github.com/klauspost/compress/zstd"
	"gorgonia.org/cu"
)

// The kernels can be compiled by clang 14 or later, without a toolkit. PTX 7.0 for sm_80
// runs with every driver from CUDA 11.0 on and on every card from Ampere on; the driver
// compiles it, which takes seconds. The cubins, which ptxas has compiled, need no
// compilation.
//go:generate sh kernels/build.sh

//go:embed kernels/kernels.tar.zst
var kernelsArchive []byte

// imageSetting is ptx to leave the cubins unused.
const imageSetting = "ATTNSCOPE_CUDA_IMAGE"

// images holds the compiled kernels.
type images struct {
	ptx    string
	cubins map[string]string // by architecture, such as sm_90a
}

// kernelImages reads the embedded archive.
var kernelImages = sync.OnceValues(func() (*images, error) { return readImages(kernelsArchive) })

// tritonImages reads the archive of the kernels that Triton has compiled.
var tritonImages = sync.OnceValues(func() (*images, error) { return readImages(tritonArchive) })

func readImages(archive []byte) (*images, error) {
	z, err := zstd.NewReader(bytes.NewReader(archive))
	if err != nil {
		return nil, err
	}
	defer z.Close()
	out := &images{cubins: map[string]string{}}
	t := tar.NewReader(z)
	for {
		head, err := t.Next()
		if errors.Is(err, io.EOF) {
			return out, nil
		}
		if err != nil {
			return nil, fmt.Errorf("the embedded kernels: %w", err)
		}
		data, err := io.ReadAll(t)
		if err != nil {
			return nil, fmt.Errorf("the embedded kernels: %w", err)
		}
		if arch, ok := strings.CutSuffix(head.Name, ".cubin"); ok {
			out.cubins[arch] = string(data)
		} else {
			out.ptx = string(data)
		}
	}
}

// cubinFor returns the cubin for a card of a compute capability, or an empty name if there
// is none. A cubin runs on cards of its own major version whose minor version is not lower; one
// of an architecture that ends with an a, on that version alone.
func (m *images) cubinFor(capability [2]int) (arch, cubin string) {
	best := -1
	for name, data := range m.cubins {
		number, exact := strings.CutSuffix(strings.TrimPrefix(name, "sm_"), "a")
		var version int
		if _, err := fmt.Sscan(number, &version); err != nil {
			continue
		}
		major, minor := version/10, version%10
		fits := major == capability[0] && (minor == capability[1] || minor < capability[1] && !exact)
		if fits && minor > best {
			best = minor
			arch, cubin = name, data
		}
	}
	return arch, cubin
}

// loadModule loads the kernels for a card of a compute capability into the current context:
// its cubin or, if there is none or the driver refuses it, the PTX. setting is the value of
// imageSetting.
func (m *images) loadModule(capability [2]int, setting string) (mod cu.Module, image string, err error) {
	if arch, cubin := m.cubinFor(capability); arch != "" && setting != "ptx" {
		if mod, err = cu.LoadData(cubin); err == nil || outOfMemory(err) {
			return mod, arch, call("cuModuleLoadData", err)
		}
	}
	mod, err = cu.LoadData(m.ptx)
	return mod, "ptx", call("cuModuleLoadData", err)
}
