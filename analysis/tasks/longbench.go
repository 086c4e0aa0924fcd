package tasks

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/attnscope/attnscope/analysis/answers"
	"github.com/attnscope/attnscope/capture/prompts"
)

// longBenchTasks are the sets of LongBench (arXiv:2308.14508, github.com/THUDM/LongBench),
// with the prompts and the lengths of replies that it publishes, in the files
// dataset2prompt.json and dataset2maxlen.json. The sets multifieldqa_zh, dureader and vcsum
// are not among them, because their scores split Chinese text by the dictionary of jieba.
var longBenchTasks = []Task{
	benchTask("narrativeqa", 128, answers.QAF1,
		"You are given a story, which can be either a novel or a movie script, and a question. "+storyRules+
			"\n\nStory: {context}\n\nNow, answer the question based on the story as concisely as you can, "+
			strings.TrimPrefix(storyRules, "Answer the question as concisely as you can, ")+
			"\n\nQuestion: {input}\n\nAnswer:"),
	benchTask("qasper", 128, answers.QAF1,
		"You are given a scientific article and a question. "+qasperRules+
			"\n\nArticle: {context}\n\n Answer the question based on the above article as concisely as you can, "+
			strings.TrimPrefix(qasperRules, "Answer the question as concisely as you can, ")+
			"\n\nQuestion: {input}\n\nAnswer:"),
	benchTask("multifieldqa_en", 64, answers.QAF1,
		"Read the following text and answer briefly.\n\n{context}\n\n"+
			"Now, answer the following question based on the above text, "+
			"only give me the answer and do not output any other words.\n\nQuestion: {input}\nAnswer:"),
	benchTask("hotpotqa", 32, answers.QAF1, passagesPrompt),
	benchTask("2wikimqa", 32, answers.QAF1, passagesPrompt),
	benchTask("musique", 32, answers.QAF1, passagesPrompt),
	benchTask("gov_report", 512, answers.Rouge,
		"You are given a report by a government agency. Write a one-page summary of the report.\n\n"+
			"Report:\n{context}\n\nNow, write a one-page summary of the report.\n\nSummary:"),
	benchTask("qmsum", 512, answers.Rouge,
		"You are given a meeting transcript and a query containing a question or instruction. "+
			"Answer the query in one or more sentences.\n\nTranscript:\n{context}\n\n"+
			"Now, answer the query based on the above meeting transcript in one or more sentences.\n\n"+
			"Query: {input}\nAnswer:"),
	benchTask("multi_news", 512, answers.Rouge,
		"You are given several news passages. Write a one-page summary of all news. \n\n"+
			"News:\n{context}\n\nNow, write a one-page summary of all the news.\n\nSummary:"),
	bareTask("trec", 64, answers.Classification,
		"Please determine the type of the question below. Here are some examples of questions.\n\n"+
			"{context}\n{input}"),
	bareTask("triviaqa", 32, answers.QAF1,
		"Answer the question based on the given passage. "+
			"Only give me the answer and do not output any other words. The following are some examples."+
			"\n\n{context}\n\n{input}"),
	bareTask("samsum", 128, answers.Rouge,
		"Summarize the dialogue into a few short sentences. The following are some examples.\n\n"+
			"{context}\n\n{input}"),
	bareTask("lsht", 64, answers.Classification,
		"请判断给定新闻的类别，下面是一些例子。\n\n{context}\n{input}"),
	benchTask("passage_count", 32, answers.Count,
		"There are some paragraphs below sourced from Wikipedia. Some of them may be duplicates. "+
			"Please carefully read these paragraphs and determine how many unique paragraphs there are "+
			"after removing duplicates. In other words, how many non-repeating paragraphs are there in total?"+
			"\n\n{context}\n\n"+
			"Please enter the final count of unique paragraphs after removing duplicates. "+
			"The output format should only contain the number, such as 1, 2, 3, and so on.\n\n"+
			"The final answer is: "),
	benchTask("passage_retrieval_en", 32, answers.Retrieval,
		"Here are 30 paragraphs from Wikipedia, along with an abstract. "+
			"Please determine which paragraph the abstract is from.\n\n{context}\n\n"+
			"The following is an abstract.\n\n{input}\n\n"+
			"Please enter the number of the paragraph that the abstract is from. "+
			"The answer format must be like \"Paragraph 1\", \"Paragraph 2\", etc.\n\nThe answer is: "),
	benchTask("passage_retrieval_zh", 32, answers.RetrievalZH,
		"以下是若干段落文字，以及其中一个段落的摘要。请确定给定的摘要出自哪一段。\n\n{context}\n\n"+
			"下面是一个摘要\n\n{input}\n\n"+
			"请输入摘要所属段落的编号。答案格式必须是\"段落1\"，\"段落2\"等格式\n\n答案是："),
	codeTask("lcc", "Please complete the code given below. \n{context}Next line of code:\n"),
	codeTask("repobench-p", "Please complete the code given below. \n{context}{input}Next line of code:\n"),
}

const storyRules = "Answer the question as concisely as you can, using a single phrase if possible. " +
	"Do not provide any explanation."

const qasperRules = "Answer the question as concisely as you can, using a single phrase or sentence if possible. " +
	"If the question cannot be answered based on the information in the article, write \"unanswerable\". " +
	"If the question is a yes/no question, answer \"yes\", \"no\", or \"unanswerable\". " +
	"Do not provide any explanation."

const passagesRules = "Answer the question based on the given passages. " +
	"Only give me the answer and do not output any other words."

const passagesPrompt = passagesRules + "\n\nThe following are given passages.\n{context}\n\n" +
	passagesRules + "\n\nQuestion: {input}\nAnswer:"

// benchTask makes a task of LongBench.
func benchTask(name string, reply int, scorer answers.Scorer, prompt string) Task {
	return Task{Name: name, Suite: "longbench", Reply: reply, Scorer: scorer, File: "longbench", prompt: prompt}
}

// bareTask makes a task whose prompt gets no chat template, and of whose replies only the
// first line is scored.
func bareTask(name string, reply int, scorer answers.Scorer, prompt string) Task {
	t := benchTask(name, reply, scorer, prompt)
	t.bare = true
	t.firstLine = true
	return t
}

// codeTask makes a task that continues code, without a chat template.
func codeTask(name, prompt string) Task {
	t := benchTask(name, 64, answers.CodeSim, prompt)
	t.bare = true
	return t
}

// benchRecord is a record of LongBench.
type benchRecord struct {
	ID      string   `json:"_id"`
	Dataset string   `json:"dataset"`
	Context string   `json:"context"`
	Input   string   `json:"input"`
	Answers []string `json:"answers"`
	Classes []string `json:"all_classes"`
}

// longBench makes the samples of a task from the first records of its set. Prompts that are
// longer than length with their reply lose their middle.
func (s *source) longBench(ctx context.Context, t Task, length int) ([]Sample, error) {
	if s.bench == nil {
		var err error
		if s.bench, err = readLongBench(s.Files["longbench"]); err != nil {
			return nil, err
		}
	}
	if length <= t.Reply {
		return nil, fmt.Errorf("the reply alone has %d tokens: ask for a larger length", t.Reply)
	}
	var list []Sample
	for _, r := range s.bench {
		if strings.TrimSuffix(r.Dataset, "_e") != t.Name || len(list) == s.Samples {
			continue
		}
		text := strings.NewReplacer("{context}", r.Context, "{input}", r.Input).Replace(t.prompt)
		record := prompts.Record{
			ID: fmt.Sprintf("%s-%d-%d", t.Name, length, len(list)), Dataset: t.Name, References: r.Answers,
			Context: r.Context,
		}
		if t.bare {
			record.Text = &text
		} else {
			record.Messages = []prompts.Message{{Role: "user", Content: text}}
		}
		p, err := prompts.Prepare(ctx, s.Tokenizer, record, prompts.Options{
			Truncate: "middle", MaxPromptTokens: length - t.Reply,
		})
		if err != nil {
			return nil, err
		}
		list = append(list, Sample{Task: t, Length: length, Index: len(list), Prompt: p, Classes: r.Classes})
	}
	return list, nil
}

// readLongBench reads a file of records, or all files *.jsonl of a folder in the order of
// their names. A record without a dataset belongs to the set that its file is named after.
func readLongBench(path string) ([]benchRecord, error) {
	files := []string{path}
	if at, err := os.Stat(path); err != nil {
		return nil, err
	} else if at.IsDir() {
		if files, err = filepath.Glob(filepath.Join(path, "*.jsonl")); err != nil {
			return nil, err
		}
	}
	list := []benchRecord{}
	for _, file := range files {
		f, err := os.Open(file)
		if err != nil {
			return nil, err
		}
		s := bufio.NewScanner(f)
		s.Buffer(make([]byte, 1<<20), 256<<20)
		for line := 1; s.Scan(); line++ {
			r := benchRecord{Dataset: strings.TrimSuffix(filepath.Base(file), ".jsonl")}
			if err := json.Unmarshal(s.Bytes(), &r); err != nil {
				f.Close()
				return nil, fmt.Errorf("%s: line %d: %w", file, line, err)
			}
			list = append(list, r)
		}
		f.Close()
		if err := s.Err(); err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
	}
	if len(list) == 0 {
		return nil, fmt.Errorf("%s: no record of LongBench", path)
	}
	return list, nil
}
