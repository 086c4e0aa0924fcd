package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// viewerRequests are what the viewer's page asks for, and some mistakes.
var viewerRequests = []string{
	"captures", "tokens?c=0&p=0", "tokens?c=0&p=2", "map?c=0&p=2&layer=1&head=2", "map?c=1&p=0&layer=0&head=0",
	"row?c=0&p=2&layer=1&head=2&row=5", "row?c=0&p=2&layer=1&head=2&row=40", "column?c=0&p=2&layer=1&head=2&key=12",
	"vote?c=0&p=2&layer=1&head=2&window=8&capacity=9&kernel=5", "vote?c=0&p=2&layer=1&head=-1&window=8&capacity=9&kernel=1",
	"overview?c=0&p=2&layer=1&head=2", "tile?c=0&p=2&layer=0&head=1&level=0&down=0&x=0&y=0&pool=max",
	"stats?c=0&p=2&layers=0,1&window=8&top=0.1&theta=0.05", "stats?c=0&p=2&layers=0&window=16&budget=9&skip=4&kernel=3",
	"stats?c=1&p=0&layers=0,1&window=8&top=0.1&theta=0.02", "sweep?c=0&p=2&layers=0,1&window=4,8,16&top=0.1&theta=0.05",
	"sweep?c=0&p=0&layers=1&window=8&budget=5&theta=0.05&kernel=3&pooling=maxpool",
	"stats?c=9", "map?c=0&p=2&layer=7", "kept?method=magic", "stats?window=-1", "nothing",
}

// viewerMethods lists the methods whose kept positions and rates are asked for.
var viewerMethods = []string{
	"snapkv", "h2o", "streamingllm", "tova", "pyramidkv", "adakv", "cake", "chunkkv", "criticalkv", "expectedattention", "knorm", "keydiff", "recent",
	"random", "oracle", "full",
}

// requests are viewerRequests and those of every method.
func requests() []string {
	list := append([]string(nil), viewerRequests...)
	for _, method := range viewerMethods {
		for _, group := range []string{"head", "mean"} {
			setting := "&window=8&capacity=24&kernel=5&method=" + method + "&group=" + group
			list = append(list, "kept?c=0&p=2&layer=1&head=2"+setting, "kept?c=0&p=2&layer=0&head=-1"+setting)
		}
	}
	all := strings.Join(viewerMethods, ",")
	for _, group := range []string{"head", "max"} {
		list = append(list, "methods?c=0&p=2&layer=all&window=8&capacity=16,24,40&theta=0.02,0.05&kernel=5&group="+group+"&methods="+all)
	}
	return append(list, "methods?c=1&p=2&layer=1&window=8&capacity=16&methods="+all)
}

// ask starts the viewer, writes the answers to all requests into a folder named as
// the step, and stops the viewer.
func (s step) ask(ctx context.Context, program, dir string) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	cmd := exec.CommandContext(ctx, program, s.args...)
	cmd.Dir = dir
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	address, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		return fmt.Errorf("%s: no address: %w", s, err)
	}
	address = strings.TrimSpace(address)
	folder := filepath.Join(dir, s.name)
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return err
	}
	for i, request := range requests() {
		answer, err := get(ctx, address+"api/"+request)
		if err != nil {
			return err
		}
		name := fmt.Sprintf("%03d.json", i)
		answer = append([]byte("// "+request+"\n"), answer...)
		if err := os.WriteFile(filepath.Join(folder, name), answer, 0o644); err != nil {
			return err
		}
	}
	stop()
	err = cmd.Wait()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) && !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

// get returns the status and the body of an answer.
func get(ctx context.Context, url string) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	return append([]byte(answer.Status+"\n"), body...), err
}
