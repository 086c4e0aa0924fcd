package cluster

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// array is one job array: the shards of a round whose numbers lie close enough together
// for the cluster's largest task number. Task i of the array records shard first + i.
type array struct {
	first  int
	shards []int // ascending
}

// tasks returns the numbers of the array's tasks.
func (a *array) tasks() []int {
	list := make([]int, len(a.shards))
	for i, shard := range a.shards {
		list[i] = shard - a.first
	}
	return list
}

// splitArrays splits shards, in ascending order, into arrays whose task numbers are less
// than numbers and that have at most count tasks. Zero means no limit.
func splitArrays(shards []int, limit arrayLimit) []array {
	var list []array
	for _, shard := range shards {
		first := 0
		if limit.numbers > 0 {
			first = shard / limit.numbers * limit.numbers
		}
		n := len(list)
		if n == 0 || list[n-1].first != first || limit.count > 0 && len(list[n-1].shards) == limit.count {
			list = append(list, array{first: first})
			n++
		}
		list[n-1].shards = append(list[n-1].shards, shard)
	}
	return list
}

// arrayLimit holds what a cluster allows for one job array. Zero means no limit.
type arrayLimit struct {
	numbers int // task numbers are less than this: MaxArraySize
	count   int // the largest number of tasks: max_array_tasks of SchedulerParameters
}

var (
	maxArraySize  = regexp.MustCompile(`(?m)^\s*MaxArraySize\s*=\s*(\d+)\s*$`)
	maxArrayTasks = regexp.MustCompile(`(?m)^\s*SchedulerParameters\s*=.*\bmax_array_tasks=(\d+)`)
)

// parseArrayLimit reads the output of "scontrol show config".
func parseArrayLimit(config string) (limit arrayLimit, err error) {
	if m := maxArraySize.FindStringSubmatch(config); m != nil {
		limit.numbers, err = strconv.Atoi(m[1])
		if err != nil || limit.numbers < 1 {
			return arrayLimit{}, fmt.Errorf("the cluster has MaxArraySize=%s, which forbids job arrays: "+
				"ask its administrator to raise it, or run capture --shard I/N in jobs of your own", m[1])
		}
	}
	if m := maxArrayTasks.FindStringSubmatch(config); m != nil {
		limit.count, _ = strconv.Atoi(m[1])
	}
	return limit, nil
}

// arrayLimit asks the cluster for its limits. A cluster that does not answer has none
// that are known: then sbatch decides.
func (j *Job) arrayLimit(ctx context.Context) (arrayLimit, error) {
	args := []string{"show", "config"}
	if cluster := j.Slurm.option("clusters", "M"); cluster != "" {
		args = append([]string{"--clusters=" + cluster}, args...)
	}
	config, err := command(ctx, "scontrol", args...)
	if err != nil {
		return arrayLimit{}, nil
	}
	return parseArrayLimit(config)
}

// option returns the value of one of the further options of sbatch, or "".
func (r *Resources) option(name, letter string) string {
	value := ""
	for i, o := range r.Options {
		o = strings.TrimLeft(o, "-")
		long, isLong := strings.CutPrefix(o, name)
		short, isShort := strings.CutPrefix(o, letter)
		switch {
		case isLong && strings.HasPrefix(long, "="):
			value = long[1:]
		case isShort && strings.HasPrefix(r.Options[i], "-"+letter) && short != "":
			value = strings.TrimLeft(short, " =")
		}
	}
	return value
}

// after returns the value of --dependency that makes an array wait until the tasks of
// other jobs have ended. A dependency that the user asks for holds as well.
func (r *Resources) after(jobs []string) string {
	own := "afterany:" + strings.Join(jobs, ":")
	if user := r.option("dependency", "d"); user != "" {
		return user + "," + own
	}
	return own
}

// activeJobs lists the jobs with shards that have not ended.
func activeJobs(shards []*shard) []string {
	var jobs []string
	for _, s := range shards {
		if s.job != "" && !s.done && !s.over && !slices.Contains(jobs, s.job) {
			jobs = append(jobs, s.job)
		}
	}
	return jobs
}
