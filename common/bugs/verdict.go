package main

import (
	"encoding/json"
	"path/filepath"
	"regexp"
	"strings"
)

// A verdict says what became of a bug.
type verdict struct {
	result result
	// detail is a line of what the test, the compiler or git said.
	detail string
}

// A result is the verdict in a word or two, as the table shows it.
type result string

const (
	caught        result = "caught"
	caughtByRace  result = "caught (race)"
	caughtByPanic result = "caught (panic)"
	caughtByHang  result = "caught (hangs)"
	caughtByLeak  result = "caught (leaks)"
	gotAway       result = "GOT AWAY"
	doesNotApply  result = "DOES NOT APPLY"
	doesNotBuild  result = "DOES NOT BUILD"
	noSuchTest    result = "NO SUCH TEST"
)

func (v verdict) caught() bool {
	return strings.HasPrefix(string(v.result), string(caught))
}

// An event is one line of what go test -json prints.
type event struct {
	Action, Test, Output string
}

// judge returns the verdict on a run of the named test, of which stdout holds the
// events.
func judge(test, stdout, stderr string) verdict {
	var ran, failed, broken bool
	var output, compiler strings.Builder
	for line := range strings.Lines(stdout) {
		var e event
		if json.Unmarshal([]byte(line), &e) != nil {
			continue // go test itself said something; stderr or the exit tells
		}
		switch e.Action {
		case "output":
			output.WriteString(e.Output)
		case "build-output":
			compiler.WriteString(e.Output)
		case "build-fail":
			broken = true
		case "run":
			ran = ran || e.Test == test
		case "fail":
			failed = true
		}
	}
	switch {
	case broken:
		return verdict{doesNotBuild, firstWithout("#", compiler.String())}
	case !ran:
		return verdict{noSuchTest, firstWithout("#", stderr)}
	case !failed:
		return verdict{gotAway, test + " passes"}
	}
	return verdict{kind(output.String()), complaint(output.String())}
}

// kind tells in which way a test failed.
func kind(output string) result {
	switch {
	case strings.Contains(output, "panic: test timed out"), strings.Contains(output, "all goroutines are asleep"),
		strings.Contains(output, "all goroutines in bubble are blocked"):
		return caughtByHang
	case strings.Contains(output, "WARNING: DATA RACE"):
		return caughtByRace
	case strings.Contains(output, "\npanic: "), strings.Contains(output, "\nfatal error: "):
		return caughtByPanic
	case leakLine.MatchString(output):
		return caughtByLeak
	}
	return caught
}

var (
	crashLine = regexp.MustCompile(`(?m)^(?:panic|fatal error): .*`)
	// The first function of the stack, but for those of the runtime, such as a map's.
	raceLine = regexp.MustCompile(`(?m)^(?:Write|Read) at .* by .*:\n(?:  runtime\..*\n.*\n)* +(.*)`)
	leakLine = regexp.MustCompile(`found unexpected goroutines:\s+\[?(Goroutine .*) on top of`)
	// With testify a failure is a list of fields; Error may have several lines.
	fieldLines = regexp.MustCompile(`(?m)^ +\tError Trace:\t(.*)\n(?:[ \t]+\t {12}\t.*\n)*[ \t]+\tError:      \t(.*\n(?:[ \t]+\t {12}\t.*\n)*)`)
	plainLine  = regexp.MustCompile(`(?m)^ +(\w+\.go:\d+: .+)`)
)

// complaint picks from a failing test's output the line that says what is wrong.
func complaint(output string) string {
	if m := raceLine.FindStringSubmatch(output); m != nil {
		return "data race in " + m[1]
	}
	if m := crashLine.FindString(output); m != "" {
		return m
	}
	if m := leakLine.FindStringSubmatch(output); m != nil {
		return "left behind: " + m[1]
	}
	if m := fieldLines.FindStringSubmatch(output); m != nil {
		text, _, _ := strings.Cut(m[2], "Diff:")
		return filepath.Base(m[1]) + ": " + strings.Join(strings.Fields(text), " ")
	}
	// What was logged before looks the same; what ended the test came last.
	if all := plainLine.FindAllStringSubmatch(output, -1); all != nil {
		return all[len(all)-1][1]
	}
	return firstWithout("=== ", output)
}

// firstWithout returns the first line of text that is not empty and does not begin
// with prefix.
func firstWithout(prefix, text string) string {
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, prefix) {
			return line
		}
	}
	return ""
}
