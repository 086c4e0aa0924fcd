package cite

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/attnscope/attnscope/analysis/tasks"
	"github.com/attnscope/attnscope/snapkv"
)

// ErrNamesNothing says that a table has no column of attnscope that could be cited.
var ErrNamesNothing = errors.New("the table has neither a column model nor a column method")

// maxTable is the size of the largest table that is read.
const maxTable = 256 << 20

// Table adds what a table written by attnscope names in its columns model, dataset, method
// and task. path ends in .tsv, .txt, .csv, .json or .jsonl. Results of generate and of the
// leaderboard also name the hash of the model and the version of attnscope, and those of
// generate the revision of the model and the hash of the prompts. In the folder of an
// experiment, run.json has all this.
func (l *List) Table(path string) error {
	rows, err := readTable(path)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	if len(rows) == 0 {
		return fmt.Errorf("%s: the table has no rows", path)
	}
	methods := distinct(rows, "method")
	run, err := readRun(filepath.Join(filepath.Dir(path), "run.json"))
	if err != nil {
		return err
	}
	switch {
	case run != nil:
		l.experiment(path, run)
	case len(methods)+len(distinct(rows, "model")) == 0:
		return fmt.Errorf("%s: %w", path, ErrNamesNothing)
	default:
		l.origin(path, rows)
	}
	for _, set := range distinct(rows, "dataset") {
		l.Dataset(set)
	}
	for _, name := range distinct(rows, "task") {
		if list, err := tasks.Find([]string{name}); err == nil { // a table may cover all tasks, *
			l.Dataset(list[0].Suite)
		}
	}
	for _, name := range methods {
		m, err := snapkv.FindMethod(name)
		if err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		l.Method(&m)
	}
	quantized := false
	for _, bits := range distinct(rows, "kv_bits") {
		n, err := strconv.Atoi(bits)
		quantized = quantized || err == nil && n > 0 && n < 16
	}
	for _, budget := range distinct(rows, "budget") { // 4bit: the full cache in 4 bits
		quantized = quantized || strings.HasSuffix(budget, "bit")
	}
	if quantized {
		l.add(known["liu2024kivi"])
	}
	return nil
}

// AreResults reports whether a .jsonl file holds results of generate or of the leaderboard.
// Other files have the same extension, such as prompts and unfinished work of reproduce. It
// reads only the first value.
func AreResults(path string) bool {
	f, err := os.Open(path)
	if err != nil {
		return false
	}
	defer f.Close()
	var first map[string]any
	if err := json.NewDecoder(io.LimitReader(f, maxTable)).Decode(&first); err != nil {
		return false
	}
	return first["method"] != nil || first["attnscope_leaderboard"] != nil
}

// experiment adds what run.json says about the table of an experiment.
func (l *List) experiment(path string, run *run) {
	l.Remark("%s: %s", path, run.Command)
	l.madeBy(path, run.Capture.Program)
	l.Model(run.Capture.Model, run.Capture.Revision, run.Capture.SHA256)
	if sum := run.Capture.PromptsSHA256; sum != "" {
		l.Remark("SHA-256 of ids and tokens of the prompts: %s", sum)
	}
}

// origin adds the models, the prompts and the versions of attnscope that rows name. A model
// without its hash is left out if it was already added with one.
func (l *List) origin(path string, rows []row) {
	for _, program := range distinct(rows, "program") {
		l.madeBy(path, program)
	}
	hashed := false
	for _, r := range rows {
		if r["model_sha256"] != "" {
			l.Model(r["model"], r["model_revision"], r["model_sha256"])
			hashed = true
		}
	}
	for _, sum := range distinct(rows, "prompts_sha256") {
		l.Remark("SHA-256 of ids and tokens of the prompts: %s", sum)
	}
	if hashed {
		return
	}
	complete := true
	for _, model := range distinct(rows, "model") {
		if !l.hashed[model] {
			complete = false
			l.Model(model, "", "")
		}
	}
	if !complete || len(distinct(rows, "model")) == 0 {
		l.Remark("%s names no dump: cite the dump as well, for the model's revision and the prompts", path)
	}
}

// row is a row of a table: its cells as text, by column.
type row map[string]string

// distinct returns the values of a column in the order of the rows.
func distinct(rows []row, column string) []string {
	var out []string
	for _, r := range rows {
		if v := r[column]; v != "" && !slices.Contains(out, v) {
			out = append(out, v)
		}
	}
	return out
}

// readTable reads a table by the extension of its file.
func readTable(path string) ([]row, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxTable+1))
	if err != nil {
		return nil, err
	}
	if len(text) > maxTable {
		return nil, fmt.Errorf("larger than %d MB, which is the most that is read", maxTable>>20)
	}
	switch filepath.Ext(path) {
	case ".tsv", ".txt":
		return readCells(text, '\t')
	case ".csv":
		return readCells(text, ',')
	case ".json", ".jsonl":
		return readObjects(text)
	}
	return nil, errors.New("neither a dump, a figure (.png, .svg, .pdf) nor a table (.tsv, .txt, .csv, .json, .jsonl)")
}

func readCells(text []byte, separator rune) ([]row, error) {
	r := csv.NewReader(bytes.NewReader(text))
	r.Comma = separator
	lines, err := r.ReadAll()
	if err != nil || len(lines) == 0 {
		return nil, err
	}
	var rows []row
	for _, cells := range lines[1:] {
		one := row{}
		for i, cell := range cells {
			one[lines[0][i]] = strings.TrimPrefix(cell, "'") // which keeps spreadsheets from computing
		}
		rows = append(rows, one)
	}
	return rows, nil
}

// readObjects reads an array of objects, or objects one after the other.
func readObjects(text []byte) ([]row, error) {
	var objects []map[string]any
	d := json.NewDecoder(bytes.NewReader(text))
	if bytes.HasPrefix(bytes.TrimSpace(text), []byte("[")) {
		if err := d.Decode(&objects); err != nil {
			return nil, err
		}
	} else {
		for {
			var one map[string]any
			err := d.Decode(&one)
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				return nil, err
			}
			objects = append(objects, one)
		}
	}
	var rows []row
	for _, object := range objects {
		one := row{}
		for name, value := range object {
			if s, ok := value.(string); ok {
				one[name] = s
			}
		}
		of := object
		if _, ok := object["attnscope_leaderboard"]; ok {
			of, _ = object["settings"].(map[string]any)
			rows = append(rows, inner(object, "plan", "suite", "dataset")...)
		}
		if bits, ok := of["kv_bits"].(float64); ok {
			one["kv_bits"] = fmt.Sprint(bits)
		}
		rows = append(rows, one)
		rows = append(rows, inner(object, "results", "method", "method")...)
		rows = append(rows, inner(object, "results", "budget", "budget")...)
	}
	return rows, nil
}

// inner returns rows with one column, which hold a field of the objects in a list of the
// leaderboard's results.
func inner(object map[string]any, list, from, column string) []row {
	var rows []row
	values, _ := object[list].([]any)
	for _, value := range values {
		one, _ := value.(map[string]any)
		text, _ := one[from].(string)
		rows = append(rows, row{column: text})
	}
	return rows
}

// run is what run.json, beside the tables of an experiment, says about the capture.
type run struct {
	Command string `json:"command"`
	Capture struct {
		Program       string `json:"program"`
		Model         string `json:"model"`
		SHA256        string `json:"model_sha256"`
		Revision      string `json:"model_revision"`
		PromptsSHA256 string `json:"prompts_sha256"`
	} `json:"capture"`
}

// readRun reads run.json; nil: there is none.
func readRun(path string) (*run, error) {
	text, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var r run
	if err := json.Unmarshal(text, &r); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if r.Capture.Model == "" {
		return nil, nil
	}
	return &r, nil
}
