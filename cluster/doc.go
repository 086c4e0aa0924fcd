// Package cluster runs a capture as a Slurm job array: one task a shard of the
// prompt set, failed tasks submitted again, the shards merged in the end. Slurm
// schedules; this package writes the script, follows the queue and the files
// that tasks leave, and keeps all it knows in one folder, so that it can be
// stopped at any moment and run again.
//
//	err := submit.Run(ctx, submit.Job{
//		Out: "run.attn", Shards: 8, Prompts: 200,
//		Capture: []string{"--model=smollm2-135m", "--prompts=prompts.jsonl"},
//	})
//
// The state folder, RUN.attn.submit, holds
//
//	job.json     what was asked for, and every array job that was submitted
//	job.sh       the script of those jobs; sbatch takes it by hand too
//	shards.tsv   a line a shard: its state, job, node, prompts, log
//	shards/      the dumps of the shards, the status file and exit code of each task
//	logs/        what each task said
//	attnscope    the program that runs, so that a rebuild changes nothing
package cluster
