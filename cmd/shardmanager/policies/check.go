package policies

import (
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/shardmanager/shardmanager/allocator/policy"
	"github.com/shardmanager/shardmanager/cmd/shardmanager/shell"
	"github.com/shardmanager/shardmanager/internal/config"
)

// checking is one call of `policy check`.
type checking struct {
	shell.Shell
	clusterFile, app string
	regions          []string
	cluster          *policy.Source
	results          []result
}

// result is what was found in one file.
type result struct {
	file, of string
	source   *policy.Source // nil: it is not sound, or has no policy
	err      error
}

func checkCommand(s shell.Shell) *cobra.Command {
	v := checking{Shell: s}
	c := &cobra.Command{
		Use:   "check FILE...",
		Short: "Check policies without an allocator: by themselves, and on top of the cluster's defaults",
		Long: "Check policies without an allocator: by themselves, and on top of the cluster's defaults. A file is the spec of an app, or a policy: of the app that\n" +
			"--app names or, without it, of the one that the file is named after (kv.yaml is of app kv). Every problem is told with file, line and field.",
		Example: "  shardmanager policy check kv.yaml\n  shardmanager policy check kv.yaml queue.yaml --cluster cluster.yaml --region eu,us -o json\n" +
			"  shardmanager policy check --cluster cluster.yaml",
		RunE: v.run,
	}
	c.Flags().StringVar(&v.clusterFile, "cluster", "", "`FILE` with the cluster's defaults, which is checked too")
	c.Flags().StringVar(&v.app, "app", "", "`NAME` of the app whose policies the files are")
	c.Flags().StringSliceVar(&v.regions, "region", nil, "`REGION` that there is; without, all are taken for good")
	s.Output(c)
	return c
}

func (v *checking) run(c *cobra.Command, files []string) error {
	if len(files) == 0 && v.clusterFile == "" {
		return v.Refuse(fmt.Errorf("%s: expected FILE; usage: %s", c.CommandPath(), c.UseLine()))
	}
	if v.clusterFile != "" {
		source, err := v.readCluster()
		v.cluster = source
		v.results = append(v.results, result{v.clusterFile, "the cluster", source, err})
	}
	for _, file := range files {
		v.results = append(v.results, v.read(file))
	}
	answer, err := v.answer()
	if err != nil {
		return err
	}
	var wrong []error
	for _, r := range v.results {
		wrong = append(wrong, r.err)
	}
	if err := v.Print(c.OutOrStdout(), answer, func(w io.Writer) { v.table(w) }); err != nil {
		return err
	}
	if err := errors.Join(wrong...); err != nil {
		return v.Refuse(err)
	}
	return nil
}

func (v *checking) readCluster() (*policy.Source, error) {
	contents, err := config.ReadFile(v.clusterFile)
	if err != nil {
		return nil, err
	}
	return policy.Parse(v.clusterFile, contents, policy.Known{Regions: v.regions})
}

// ofSpec finds what only specs have.
var ofSpec = regexp.MustCompile(`(?im)^[ {"']*key[-_]?space["']? *:`)

func (v *checking) read(file string) result {
	admission := policy.Admission{Cluster: v.cluster, Partial: v.clusterFile != "" && v.cluster == nil, Regions: v.regions}
	contents, err := config.ReadFile(file)
	if err != nil {
		return result{file: file, err: err}
	}
	if ofSpec.Match(contents) {
		spec, err := config.ParseAppSpec(file, contents)
		if err != nil {
			return result{file: file, err: err}
		}
		r := result{file: file, of: "app " + spec.Spec.GetName()}
		admission.Document = spec.Document
		r.source, r.err = admission.Admit(spec.Spec)
		return r
	}
	name := v.app
	if name == "" {
		name = strings.TrimSuffix(filepath.Base(file), filepath.Ext(file))
	}
	r := result{file: file, of: "app " + name}
	r.source, r.err = admission.Parse(file, contents, name)
	return r
}

// answer is the results for programs.
func (v *checking) answer() (*structpb.Struct, error) {
	list := make([]any, len(v.results))
	for i, r := range v.results {
		problems := []any{}
		if r.err != nil {
			for line := range strings.SplitSeq(r.err.Error(), "\n") {
				problems = append(problems, line)
			}
		}
		list[i] = map[string]any{"file": r.file, "of": r.of, "sound": r.err == nil, "problems": problems}
	}
	return structpb.NewStruct(map[string]any{"files": list})
}

// table shows what is sound; what is not is told as the command's error.
func (v *checking) table(w io.Writer) {
	head := false
	for _, r := range v.results {
		if r.err != nil {
			continue
		}
		if !head {
			shell.Row(w, "FILE", "OF", "METRICS", "CONSTRAINTS", "GOALS", "SHARDS")
			head = true
		}
		if r.source == nil {
			shell.Row(w, r.file, r.of, "no policy")
			continue
		}
		p := r.source.Policy()
		shell.Row(w, r.file, r.of, fmt.Sprint(len(p.GetMetrics())), fmt.Sprint(len(p.GetConstraints())), fmt.Sprint(len(p.GetGoals())), fmt.Sprint(len(p.GetShards())))
	}
}
