package view

import (
	"bufio"
	"bytes"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"image/png"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/attnscope/attnscope/viz"
)

// tab is a page that is driven over the browser's DevTools pipe.
type tab struct {
	*testing.T
	to        *os.File
	from      *bufio.Reader
	session   string
	last      int
	exception string
	console   string // exceptions too
}

type message struct {
	ID     int             `json:"id"`
	Method string          `json:"method"`
	Params json.RawMessage `json:"params"`
	Result struct {
		TargetID  string `json:"targetId"`
		SessionID string `json:"sessionId"`
		Result    struct {
			Value json.RawMessage `json:"value"`
		} `json:"result"`
		Details json.RawMessage `json:"exceptionDetails"`
		Data    []byte          `json:"data"` // of a screenshot
	} `json:"result"`
}

func openTab(t *testing.T) *tab {
	t.Helper()
	browser := chromium(t)
	args := []string{
		"--headless", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update",
		"--disable-sync", "--user-data-dir=" + profile(t), "--window-size=1300,850", "--remote-debugging-pipe",
	}
	if os.Geteuid() == 0 {
		args = append(args, "--no-sandbox")
	}
	in, to, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	from, out, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(browser, args...) // the test's context ends before the browser may
	cmd.ExtraFiles = []*os.File{in, out}  // descriptors 3 and 4
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	in.Close()
	out.Close()
	b := &tab{T: t, to: to, from: bufio.NewReader(from)}
	t.Cleanup(func() { // an orderly end, so that its folder can be removed
		b.send("Browser.close", nil)
		cmd.Wait()
		to.Close()
		from.Close()
	})
	timer := time.AfterFunc(time.Hour, func() { cmd.Process.Kill() })
	t.Cleanup(func() { timer.Stop() })
	target := b.call("Target.createTarget", map[string]any{"url": "about:blank"}).Result.TargetID
	b.session = b.call("Target.attachToTarget", map[string]any{"targetId": target, "flatten": true}).Result.SessionID
	b.call("Runtime.enable", nil)
	b.call("Page.enable", nil)
	b.call("Log.enable", nil)
	return b
}

func (b *tab) send(method string, params map[string]any) int {
	b.last++
	m := map[string]any{"id": b.last, "method": method, "params": params}
	if params == nil {
		m["params"] = map[string]any{}
	}
	if b.session != "" && method != "Browser.close" {
		m["sessionId"] = b.session
	}
	text, _ := json.Marshal(m)
	b.to.Write(append(text, 0))
	return b.last
}

func (b *tab) call(method string, params map[string]any) message {
	b.Helper()
	id := b.send(method, params)
	for {
		text, err := b.from.ReadBytes(0)
		if err != nil {
			b.Fatalf("%s: %v", method, err)
		}
		var m message
		if err := json.Unmarshal(text[:len(text)-1], &m); err != nil {
			b.Fatal(err)
		}
		switch m.Method {
		case "Runtime.exceptionThrown":
			b.exception += string(m.Params)
			fallthrough
		case "Runtime.consoleAPICalled", "Log.entryAdded":
			b.console += string(m.Params)
		}
		if m.ID == id {
			return m
		}
	}
}

// eval runs an async function's body in the page and returns its value as JSON.
func (b *tab) eval(body string) string {
	b.Helper()
	m := b.call("Runtime.evaluate", map[string]any{"expression": "(async () => {" + body + "})()", "awaitPromise": true, "returnByValue": true})
	if m.Result.Details != nil {
		b.Fatalf("%s: %s", body, m.Result.Details)
	}
	return string(m.Result.Result.Value)
}

// until waits for a condition of the page, up to three minutes, since the machine may
// be busy.
func (b *tab) until(condition string) bool {
	b.Helper()
	for range 360 { // the page itself looks most often: that costs it least
		if b.eval("for (let i = 0; i < 25; i++) { if ("+condition+") return true; await new Promise(r => setTimeout(r, 20)); } return false;") == "true" {
			return true
		}
	}
	return false
}

// ready waits for the view to be drawn.
func (b *tab) ready() {
	b.Helper()
	if !b.until(`document.querySelector("[data-ready=yes]")`) {
		b.Fatalf("not drawn: %s", b.status())
	}
}

// load opens a new page in the state of a view. Nothing of the page before is kept.
func (b *tab) load(v *site, hash string) {
	b.Helper()
	query := "?" + fmt.Sprint(b.last)
	b.call("Page.navigate", map[string]any{"url": v.url + query + "#" + hash})
	if !b.until(`location.search === "` + query + `" && document.getElementById("status")`) {
		b.Fatalf("%s was not loaded", hash)
	}
}

// visit loads a view and waits until it is drawn.
func (b *tab) visit(v *site, hash string) {
	b.Helper()
	b.load(v, hash)
	b.ready()
}

func (b *tab) press(keys ...string) {
	b.Helper()
	for _, k := range keys {
		down := map[string]any{"type": "keyDown", "key": k}
		if len(k) == 1 {
			down["text"] = k
		}
		b.call("Input.dispatchKeyEvent", down)
		b.call("Input.dispatchKeyEvent", map[string]any{"type": "keyUp", "key": k})
		time.Sleep(60 * time.Millisecond)
	}
}

func (b *tab) hash() string {
	b.Helper()
	var s string
	json.Unmarshal([]byte(b.eval("return location.hash")), &s)
	return s
}

// says checks that an exported picture is valid and holds the command and the hash of
// the manifest.
func says(t *testing.T, v *site, view, kind string, data []byte) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "x."+kind)
	if err := os.WriteFile(path, data, 0o644); err != nil {
		t.Fatal(err)
	}
	meta, err := viz.ReadMeta(path)
	if err != nil {
		t.Fatalf("%s as %s: %v", view, kind, err)
	}
	o, err := meta.Origin()
	if err != nil {
		t.Fatal(err)
	}
	name := filepath.Base(v.path)
	if len(o.Arguments) != 4 || o.Arguments[0] != "view" || o.Arguments[1] != name || o.Arguments[2] != "--at" || !strings.Contains(o.Arguments[3], "method=recent") {
		t.Errorf("%s as %s: arguments %q", view, kind, o.Arguments)
	}
	if got, want := o.Manifests[name], v.dump.Header().SHA256(); got != want {
		t.Errorf("%s as %s: manifest %q, want %q", view, kind, got, want)
	}
	if o.Command() != meta["command"] {
		t.Errorf("%s as %s: command %q, want %q", view, kind, meta["command"], o.Command())
	}
	if kind == "png" {
		if _, err := png.Decode(bytes.NewReader(data)); err != nil {
			t.Errorf("%s: %v", view, err)
		}
		return
	}
	for d := xml.NewDecoder(bytes.NewReader(data)); ; {
		if _, err := d.Token(); err == io.EOF {
			break
		} else if err != nil {
			t.Errorf("%s as svg: %v", view, err)
			break
		}
	}
}

// TestKeysPointerAndExports uses the page by keys, pointer and export menu.
func TestKeysPointerAndExports(t *testing.T) {
	b := openTab(t)
	v := evilDump(t)
	b.visit(v, "v=overview")
	b.press("ArrowRight", "Enter")
	if !b.until(`location.hash.includes("v=head") && location.hash.includes("head=1")`) {
		t.Errorf("arrow and Enter in the grid: %s", b.hash())
	}
	b.ready()
	for _, c := range []struct {
		keys []string
		want string
	}{
		{[]string{"+"}, "k1="},
		{[]string{"ArrowRight"}, "k0="},
		{[]string{"}"}, "r1="},
		{[]string{"s"}, "scale=linear"},
		{[]string{","}, "head=0"},
		{[]string{"0"}, "#"},
		{[]string{"t"}, "theme="},
		{[]string{"3"}, "v=text"},
		{[]string{"4"}, "v=sweep"},
		{[]string{"5"}, "v=methods"},
		{[]string{"6"}, "v=compare"},
		{[]string{"2"}, "v=head"},
	} {
		b.press(c.keys...)
		if !b.until(`("#" + location.hash).includes("` + c.want + `")`) {
			t.Errorf("keys %v: %s, want %s", c.keys, b.hash(), c.want)
		}
	}
	b.visit(v, "v=head&head=1&apart=0")
	b.call("Input.dispatchMouseEvent", map[string]any{"type": "mousePressed", "x": 400, "y": 400, "button": "left", "clickCount": 1})
	b.call("Input.dispatchMouseEvent", map[string]any{"type": "mouseReleased", "x": 400, "y": 400, "button": "left", "clickCount": 1})
	if !b.until(`location.hash.includes("row=") && location.hash.includes("key=")`) {
		t.Errorf("a click pins nothing: %s", b.hash())
	}
	b.call("Input.dispatchMouseEvent", map[string]any{"type": "mouseWheel", "x": 400, "y": 400, "deltaX": 0, "deltaY": -500})
	if !b.until(`location.hash.includes("k0=")`) {
		t.Errorf("the wheel does not zoom: %s", b.hash())
	}
	b.press("?")
	if !b.until(`document.getElementById("help").open`) {
		t.Error("no help")
	}
	for view, csv := range map[string]string{"overview": "layer,head,hit_rate", "head": "row_position,key,weight", "text": "position,id,piece", "sweep": "layer,window,", "sweep&sw=method": "method,capacity,mass", "overview&sort=rank&mean=1": "layer,head,hit_rate", "compare": "layer,head,measure"} {
		b.visit(v, "v="+view+"&head=1&method=recent&w=8&cap=16")
		for kind, start := range map[string]string{"csv": csv, "svg": "<svg xmlns=", "png": "\x89PNG"} {
			got := b.eval(`let got; const make = URL.createObjectURL; URL.createObjectURL = x => { got = x; return make.call(URL, x); };
				const choice = document.querySelector("[aria-label=export]"); choice.value = "` + kind + `"; choice.dispatchEvent(new Event("change"));
				for (let i = 0; !got && i < 3000; i++) await new Promise(r => setTimeout(r, 20));
				URL.createObjectURL = make;
				return await new Promise(done => { const r = new FileReader(); r.onload = () => done(r.result.split(",")[1]); r.readAsDataURL(got); });`)
			var data []byte
			json.Unmarshal([]byte(got), &data)
			if !strings.HasPrefix(string(data), start) {
				t.Errorf("%s as %s begins with %q, want %q", view, kind, data[:min(30, len(data))], start)
			}
			if kind != "csv" {
				says(t, v, view, kind, data)
			}
		}
	}
	if b.exception != "" {
		t.Errorf("exceptions: %s", b.exception)
	}
}

// TestSliderOfAShortPrompt: a capacity larger than the prompt, of 40 tokens, is shown as
// the whole prompt, at the end of the slider; smaller ones are inside it.
func TestSliderOfAShortPrompt(t *testing.T) {
	b := openTab(t)
	v := evilDump(t)
	const slider = `document.querySelector("input[data-state=cap]")`
	for _, c := range []struct{ hash, want string }{
		{"v=head&head=1&method=snapkv&w=8&cap=320", slider + `.value === ` + slider + `.max && %s === "40"`},
		{"v=head&head=1&method=snapkv&w=8&cap=40", slider + `.value === ` + slider + `.max && %s === "40"`},
		{"v=head&head=1&method=snapkv&w=8&cap=16", slider + `.value === "0" && ` + slider + `.max === "1" && %s === "16"`},
	} {
		b.visit(v, c.hash)
		if !b.until(fmt.Sprintf(c.want, slider+`.parentElement.querySelector("output").textContent`)) {
			t.Errorf("%s: the slider is elsewhere: %s", c.hash, b.hash())
		}
	}
}
