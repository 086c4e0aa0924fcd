// Package cluster runs a capture as a Slurm job array. The prompts are split into
// shards, and each task of the array records one shard into its own dump. When all
// shards are complete, their dumps are merged into one.
//
//	report, err := cluster.Run(ctx, cluster.Job{
//		Out: "run.attn", Shards: 8, Prompts: 200,
//		Capture: []string{"--model=smollm2-135m", "--prompts=prompts.jsonl"},
//	})
//
// Slurm schedules the tasks. [Run] writes the batch script, submits it with sbatch, and
// then follows the queue and the files of the tasks until all shards are done.
//
// Several arrays. A cluster limits the numbers and the count of an array's tasks
// (MaxArraySize, max_array_tasks). Run then submits several arrays. Task i of an array
// records shard first + i, where first is the argument of the script. If the number of
// running tasks is limited, an array waits for those before it.
//
// State. Run keeps its entire state in one folder, RUN.attn.submit. Run may therefore
// be stopped at any time: the tasks continue, and the same call follows them again.
//
//	job.json     the arguments, and each array job that was submitted
//	job.sh       the batch script, which can also be given to sbatch by hand
//	shards.tsv   one line per shard: state, job, node, prompts, attempts, log
//	shards/      the dumps of the shards, and the status file and exit code of each task
//	logs/        the output of each task
//	attnscope    a copy of the program, so that a rebuild does not change a running job
//
// Retries. A task that ends without a complete dump is submitted again. It resumes the
// shard's dump after its last complete prompt, so finished prompts are never repeated.
// If a shard fails more than Job.Retries times in a row without finishing a prompt, Run
// stops retrying it and ends with [ErrGivenUp]; another call of Run tries the shard
// again. A task that Slurm preempts, or that approaches its time limit after it has
// finished a prompt, goes back into the queue and does not count as failed.
//
// Merge. The merged dump has the same numbers as a capture without shards on a processor
// of the same kind. Run warns if shards were recorded on different processors, because
// numbers can then differ in their last bits.
package cluster
