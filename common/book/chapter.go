package main

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

// A chapter is one README, taken apart.
type chapter struct {
	// path is where it lies, from the root.
	path string
	// stage is the name of its stage; empty for the README at the top.
	stage  string
	blocks []block
	prose  []paragraph
	// wrong are the comments that nobody understands.
	wrong []string
}

// A paragraph is a piece of prose, a row of a table or a heading.
type paragraph struct {
	line int
	text string
}

// A block is what stands between two fences, or in a comment with commands.
type block struct {
	// line is that of its first line.
	line  int
	lines []string
	// language is what the fence names, "go" perhaps.
	language string
	// above is the paragraph before it.
	above string
	mark  mark
	// heading and part count those of the chapter up to here.
	heading, part int
}

// A mark is what a comment says of the block that follows.
type mark struct {
	notRun, notCompared string
	varies              []*regexp.Regexp
}

// readChapter reads the chapter of a stage, or the README at the top.
func readChapter(root, stage string) (chapter, error) {
	path := filepath.Join(stage, "README.md")
	text, err := os.ReadFile(filepath.Join(root, path))
	return parseChapter(path, stage, string(text)), err
}

var (
	fence   = regexp.MustCompile("^( *)```(.*)$")
	comment = regexp.MustCompile(`^<!-- book:(.*?)(-->)?$`)
	// breaks are lines that are a paragraph of their own.
	breaks = regexp.MustCompile(`^(#|\||</?details|$)`)
)

// parseChapter takes a chapter apart.
func parseChapter(path, stage, text string) chapter {
	c := chapter{path: path, stage: stage}
	lines := strings.Split(text, "\n")
	var next block // what is known of the block to come
	begun := false // whether a paragraph goes on
	for i := 0; i < len(lines); i++ {
		line := lines[i]
		if m := fence.FindStringSubmatch(line); m != nil {
			next.language, next.line, begun = m[2], i+2, false
			for i++; i < len(lines) && strings.TrimSpace(lines[i]) != "```"; i++ {
				next.lines = append(next.lines, strings.TrimPrefix(lines[i], m[1]))
			}
			c.blocks = append(c.blocks, next)
			next = block{heading: next.heading, part: next.part}
			continue
		}
		if m := comment.FindStringSubmatch(line); m != nil {
			begun = false
			if m[2] != "" {
				if err := next.mark.set(strings.TrimSpace(m[1])); err != nil {
					c.wrong = append(c.wrong, fmt.Sprintf("%s:%d: %v", path, i+1, err))
				}
				continue
			}
			commands := block{line: i + 2, heading: next.heading, part: next.part}
			for i++; i < len(lines) && lines[i] != "-->"; i++ {
				commands.lines = append(commands.lines, lines[i])
			}
			c.blocks = append(c.blocks, commands)
			continue
		}
		if strings.HasPrefix(line, "#") {
			next.heading++
			next.part++
		}
		if !begun && strings.HasPrefix(line, "**") {
			next.part++
		}
		alone := breaks.MatchString(line)
		if begun && !alone {
			c.prose[len(c.prose)-1].text += "\n" + line
		} else if line != "" {
			c.prose = append(c.prose, paragraph{line: i + 1, text: line})
		}
		begun = !alone
		if len(c.prose) > 0 {
			next.above = c.prose[len(c.prose)-1].text
		}
	}
	return c
}

var marks = regexp.MustCompile(`^(not run|not compared|varies /(.*)/): (.+)$`)

// set adds what a comment says.
func (m *mark) set(said string) error {
	parts := marks.FindStringSubmatch(said)
	switch {
	case parts == nil:
		return fmt.Errorf("there is no such mark, or it has no reason: %q", said)
	case parts[1] == "not run":
		m.notRun = parts[3]
	case parts[1] == "not compared":
		m.notCompared = parts[3]
	default:
		pattern, err := regexp.Compile(parts[2])
		if err != nil {
			return err
		}
		m.varies = append(m.varies, pattern)
	}
	return nil
}

// A step is something that is typed, and what the chapter shows of its output.
type step struct {
	line int
	// prompt is "$" for the shell, ">" for the lab, "^C" for Ctrl-C.
	prompt string
	typed  string
	want   []string
}

// ctrlC is the prompt of a step that types nothing but that.
const ctrlC = "^C"

// bare are blocks of commands without a prompt, as the README has them.
var bare = regexp.MustCompile(`^(make|go|git|printf) `)

// steps are the commands of a block; none if it shows something else.
func (b block) steps() []step {
	if b.language != "" || len(b.lines) == 0 {
		return nil
	}
	first, prompts := b.lines[0], true
	switch {
	case bare.MatchString(first):
		prompts = false
	case !strings.HasPrefix(first, "$ ") && !strings.HasPrefix(first, "> ") && first != ctrlC:
		return nil
	}
	var steps []step
	scene := false // whether the last command plays one, and so writes lines after "> " itself
	for i := 0; i < len(b.lines); i++ {
		text, line := b.lines[i], b.line+i
		switch {
		case text == ctrlC:
			steps = append(steps, step{line: line, prompt: ctrlC})
		case !prompts || strings.HasPrefix(text, "$ "):
			typed := strings.TrimPrefix(text, "$ ")
			for end := hereDocument(typed); end != "" && i+1 < len(b.lines); {
				i++
				typed += "\n" + b.lines[i]
				if b.lines[i] == end {
					break
				}
			}
			scene = strings.Contains(typed, "-scene ")
			steps = append(steps, step{line: line, prompt: "$", typed: typed})
		case strings.HasPrefix(text, "> ") && !scene:
			steps = append(steps, step{line: line, prompt: ">", typed: text[2:]})
		default:
			last := &steps[len(steps)-1]
			last.want = append(last.want, text)
		}
	}
	return steps
}

var hereMark = regexp.MustCompile(`<<'?(\w+)'?`)

// hereDocument is the line that ends the here-document which a command begins; empty if it begins none.
func hereDocument(command string) string {
	if m := hereMark.FindStringSubmatch(command); m != nil {
		return m[1]
	}
	return ""
}

var (
	sceneName = regexp.MustCompile("^`([a-z0-9-]+\\.scene)`$")
	fileName  = regexp.MustCompile("(?:From\\s`|\\]\\()([a-z]+/testdata/[^`)]+)[`)]")
	// traceHead is the beginning of an event of a node that runs.
	traceHead = regexp.MustCompile(`^\w+ +at +[0-9]`)
)

// isTrace tells whether the block is the trace of a node that runs in a terminal.
func (b block) isTrace() bool { return len(b.lines) > 0 && traceHead.MatchString(b.lines[0]) }

// scene is the scene that the block shows, played; empty if none.
func (b block) scene() string {
	if m := sceneName.FindStringSubmatch(b.above); m != nil && b.language == "" {
		return m[1]
	}
	return ""
}

// file is the file of the stage that the block is part of; empty if none.
func (b block) file() string {
	if m := fileName.FindStringSubmatch(b.above); m != nil {
		return m[1]
	}
	return ""
}
