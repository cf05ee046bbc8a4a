package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

const (
	units         = "../../deploy/systemd"
	installedPath = "/usr/local/bin/shardmanager"
)

// unitFiles is the text of each unit, by name.
func unitFiles(t *testing.T) map[string]string {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(units, "*.service"))
	if err != nil || len(paths) < 4 {
		t.Fatalf("units %v, %v", paths, err)
	}
	files := map[string]string{}
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		files[filepath.Base(path)] = string(text)
	}
	return files
}

// What the units run exists, with the flags that they give it.
func TestUnitsRunWhatThereIs(t *testing.T) {
	for name, text := range unitFiles(t) {
		runs := 0
		for line := range strings.Lines(text) {
			key, command, _ := strings.Cut(strings.TrimSpace(line), "=")
			if !strings.HasPrefix(key, "Exec") {
				continue
			}
			runs++
			command, found := strings.CutPrefix(strings.TrimPrefix(command, "-"), installedPath+" ")
			if !found {
				t.Errorf("%s: %s runs something else", name, key)
				continue
			}
			command = strings.ReplaceAll(strings.ReplaceAll(command, "$OPTIONS", ""), "%i", "app")
			if code, _, errs := shell(t, append(strings.Fields(command), "--help")...); code != exitOK {
				t.Errorf("%s: %s: exit %d, %s", name, command, code, errs)
			}
		}
		if runs == 0 {
			t.Errorf("%s runs nothing", name)
		}
	}
}

// Every unit tells systemd that it is ready and well, drains in less time than it has to stop, and is exposed as little as promised.
func TestUnitsKeepPromises(t *testing.T) {
	analyze, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Log("systemd-analyze is not there (Debian: systemd): the exposure of the units is not looked at")
	}
	setting := func(text, pattern string) string {
		found := regexp.MustCompile("(?m)" + pattern).FindStringSubmatch(text)
		if found == nil {
			return ""
		}
		return found[1]
	}
	for name, text := range unitFiles(t) {
		if setting(text, `^(Type=notify)$`) == "" || setting(text, `^WatchdogSec=(\d+)$`) == "" {
			t.Errorf("%s: no readiness or no watchdog", name)
		}
		stop, _ := strconv.Atoi(setting(text, `^TimeoutStopSec=(\d+)$`))
		drain, err := strconv.Atoi(setting(text, `^ExecStop=.* --timeout (\d+)s`))
		if stop == 0 || drain >= stop || (err != nil) == (strings.Contains(name, "agent") || strings.Contains(text, "example-kv")) {
			t.Errorf("%s: it drains for %d s, and has %d s to stop", name, drain, stop)
		}
		if analyze == "" {
			continue
		}
		const most = "20" // 2.0
		if out, err := exec.CommandContext(t.Context(), analyze, "security", "--offline=true", "--threshold="+most, filepath.Join(units, name)).CombinedOutput(); err != nil {
			t.Errorf("%s: %v\n%s", name, err, out)
		}
		if err := exec.CommandContext(t.Context(), analyze, "security", "--offline=true", "--threshold=1", filepath.Join(units, name)).Run(); err == nil {
			t.Error("a threshold is no limit to systemd-analyze")
		}
	}
}

// So do Nomad's jobs: each verb has the flags that they give it.
func TestJobsStartWhatThereIs(t *testing.T) {
	files, err := filepath.Glob("../../deploy/nomad/*.nomad.hcl")
	if err != nil || len(files) < 4 {
		t.Fatalf("jobs %v, %v", files, err)
	}
	args := regexp.MustCompile(`(?s)args\s*=\s*\[(.*?)\n?\s*\]\n`)
	words := regexp.MustCompile(`"([a-z][a-z-]*|--[a-z-]+)"`)
	for _, name := range files {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		lists := args.FindAllSubmatch(text, -1)
		if len(lists) == 0 {
			t.Errorf("%s starts nothing", name)
		}
		for _, list := range lists {
			var verb, flags []string
			for _, word := range words.FindAllStringSubmatch(string(list[1]), -1) {
				switch {
				case strings.HasPrefix(word[1], "--"):
					flags = append(flags, word[1])
				case len(flags) == 0:
					verb = append(verb, word[1])
				}
			}
			code, help, errs := shell(t, append(verb, "--help")...)
			if code != exitOK || len(verb) == 0 || len(flags) == 0 {
				t.Errorf("%s: %v: exit %d, %s", name, verb, code, errs)
			}
			for _, flag := range flags {
				if !strings.Contains(help, flag+" ") {
					t.Errorf("%s: %v has no %s", name, verb, flag)
				}
			}
		}
	}
}

// systemd takes the units without a word: its verdict on unknown keys is only a warning.
func TestUnitsVerify(t *testing.T) {
	analyze, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Skip("systemd-analyze is not there: the units are not verified")
	}
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	verify := func(name, text string) string {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(strings.ReplaceAll(text, installedPath, program)), 0o600); err != nil {
			t.Fatal(err)
		}
		cmd := exec.CommandContext(t.Context(), analyze, "verify", path)
		var said bytes.Buffer
		cmd.Stdout, cmd.Stderr = &said, &said
		if err := cmd.Run(); err != nil {
			said.WriteString(err.Error())
		}
		return said.String()
	}
	files := unitFiles(t)
	for name, text := range files {
		if said := verify(name, text); said != "" {
			t.Errorf("%s: %s", name, said)
		}
	}
	if said := verify("kv.service", strings.Replace(files["kv.service"], "Restart=", "Restrat=", 1)); !strings.Contains(said, "Restrat") {
		t.Errorf("an unknown key passes: %q", said)
	}
}

// The settings beside the units are right: each daemon finds nothing wrong but what is made wrong here.
func TestUnitsSettings(t *testing.T) {
	for daemon, wrong := range map[string]string{"store": "max_bytes", "allocator": "store", "agent": "store"} {
		value := map[string]string{"max_bytes": "1", "store": "nonsense"}[wrong]
		flag := "--" + strings.ReplaceAll(wrong, "_", "-")
		code, _, errs := shell(t, daemon, "--config", filepath.Join(units, daemon+".yaml"), flag, value)
		if code != exitUsage || !strings.Contains(errs, flag) || strings.Count(errs, "expected") != 1 {
			t.Errorf("%s: exit %d, %s; expected it to complain of %s only", daemon, code, errs, wrong)
		}
	}
}
