package main

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// said finds what the documents say that a user types: in code spans, and in lines of code that begin with the program's name.
var said = regexp.MustCompile("(?m)`shardmanager( [^`]*)?`|^    shardmanager( .*)$")

// word is one of a command line: what is between single quotes is one.
var word = regexp.MustCompile(`'[^']*'|\S+`)

// documents are those for users.
func documents(t *testing.T) []string {
	t.Helper()
	docs, err := filepath.Glob("../../docs/*.md")
	if err != nil || len(docs) == 0 {
		t.Fatal(docs, err)
	}
	return append(docs, "../../README.md", "../../CONTRIBUTING.md")
}

// Every command that a document names is there, with its subcommands, flags and arguments.
func TestDocumentsNameCommands(t *testing.T) {
	commands := 0
	for _, file := range documents(t) {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, match := range said.FindAllStringSubmatch(string(text), -1) {
			commands++
			line, _, _ := strings.Cut(match[1]+match[2], " #")
			if wrong := typed(word.FindAllString(line, -1)); wrong != "" {
				t.Errorf("%s: shardmanager%s: %s", filepath.Base(file), line, wrong)
			}
		}
	}
	if commands < 50 {
		t.Errorf("only %d commands were found in the documents", commands)
	}
}

// typed says what is wrong with a command line as a document has it: dots stand for what is left out, and a name in capitals for anything.
func typed(words []string) string {
	c, rest, err := rootCommand().Find(words)
	if err != nil {
		return err.Error()
	}
	c.InitDefaultHelpFlag()
	var args []string
	for i := 0; i < len(rest); i++ {
		word := rest[i]
		switch {
		case word == "…" || word == "...":
			return ""
		case strings.HasPrefix(word, "-"):
			name, _, given := strings.Cut(strings.TrimLeft(word, "-"), "=")
			flag := c.Flags().Lookup(name)
			if len(name) == 1 {
				flag = c.Flags().ShorthandLookup(name)
			}
			if flag == nil {
				flag = c.InheritedFlags().Lookup(name)
			}
			if flag == nil {
				return "there is no " + word
			}
			if !given && takesValue(flag) {
				i++
			}
		default:
			args = append(args, word)
		}
	}
	return misfit(c, args)
}

func takesValue(f *pflag.Flag) bool { return f.NoOptDefVal == "" }

// misfit says whether arguments are too many; too few are a command that is spoken about.
func misfit(c *cobra.Command, args []string) string {
	if len(args) == 0 || c.Args == nil {
		return ""
	}
	wants := strings.Fields(c.Use)[1:]
	if len(args) > len(wants) && !strings.Contains(c.Use, "...") && !slices.Contains(wants, "[--]") {
		return "it takes " + strings.Join(wants, " ")
	}
	return ""
}
