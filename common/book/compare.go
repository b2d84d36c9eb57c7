package main

import (
	"regexp"
	"slices"
	"strings"
)

// anyLines stands in a chapter for any number of lines.
const anyLines = "..."

// fleeting is what no two runs have in common: it comes from a clock, from the system, or is a sum over such.
var fleeting = []struct {
	pattern *regexp.Regexp
	equal   string
}{
	{regexp.MustCompile(`\(\d+\.\d+s\)`), "(TIME)"},                      // how long a test took
	{regexp.MustCompile(`\b(real|user|sys)\s+\d+m\d+\.\d+s`), "$1 TIME"}, // what bash's time says
	{regexp.MustCompile(`\bat +[\d.]+(µs|ms|s|m[\d.]+s)$`), "at TIME"},   // when an event of a trace was
	{regexp.MustCompile(`outdated by \d+ ms`), "outdated by TIME"},       //
	{regexp.MustCompile(`127\.0\.0\.1:\d+->`), "127.0.0.1:PORT->"},       // the port of a connection that goes out
	{regexp.MustCompile(`^[0-9a-f]{8} \{`), "SUM {"},                     // the checksum of a line on disk
	// Of a status the names, the role, and who leads: how far each is, and in which term, is of the moment.
	{regexp.MustCompile(`^(n\d+ +running +\w+)( +\d+)?( +(?:n\d+|-)) [\d. KM-]+$`), "$1$3 COUNTS"},
}

// settled are the words of a line, with all that is fleeting, or varies, made equal.
func settled(line string, varies []*regexp.Regexp) string {
	for _, v := range varies {
		line = v.ReplaceAllString(line, "VARIES")
	}
	for _, f := range fleeting {
		line = f.pattern.ReplaceAllString(line, f.equal)
	}
	return strings.Join(strings.Fields(line), " ")
}

// settle is settled for all lines, without the empty ones at the end.
func settle(lines []string, varies []*regexp.Regexp) []string {
	var all []string
	for _, line := range lines {
		all = append(all, settled(line, varies))
	}
	for len(all) > 0 && all[len(all)-1] == "" {
		all = all[:len(all)-1]
	}
	return all
}

// same tells whether got is what is wanted, in which anyLines stands for any.
func same(want, got []string) bool {
	for len(want) > 0 {
		if want[0] == anyLines {
			return slices.ContainsFunc(tails(got), func(tail []string) bool { return same(want[1:], tail) })
		}
		if len(got) == 0 || want[0] != got[0] {
			return false
		}
		want, got = want[1:], got[1:]
	}
	return len(got) == 0
}

// tails are lines without the first of them, none to all.
func tails(lines []string) [][]string {
	var all [][]string
	for i := range len(lines) + 1 {
		all = append(all, lines[i:])
	}
	return all
}

// within tells whether got has the wanted lines, in their order, whatever else it has.
func within(want, got []string) bool {
	want = slices.DeleteFunc(slices.Clone(want), func(line string) bool { return line == "" || line == anyLines })
	for _, line := range got {
		if len(want) > 0 && want[0] == line {
			want = want[1:]
		}
	}
	return len(want) == 0
}

// inCommon is the length of the longest text that is part of want[i:] and of got[j:], for each i and j.
func inCommon(want, got []string) [][]int {
	common := make([][]int, len(want)+1)
	for i := range common {
		common[i] = make([]int, len(got)+1)
	}
	for i := len(want) - 1; i >= 0; i-- {
		for j := len(got) - 1; j >= 0; j-- {
			if want[i] == got[j] {
				common[i][j] = common[i+1][j+1] + 1
			} else {
				common[i][j] = max(common[i+1][j], common[i][j+1])
			}
		}
	}
	return common
}

// difference shows two texts as a diff. They are compared as they are when settled, and shown as they were.
func difference(want, got, wantSettled, gotSettled []string) string {
	common := inCommon(wantSettled, gotSettled)
	var shown []string
	i, j := 0, 0
	for i < len(wantSettled) || j < len(gotSettled) {
		switch {
		case i < len(wantSettled) && j < len(gotSettled) && wantSettled[i] == gotSettled[j]:
			shown = append(shown, "      "+want[i])
			i, j = i+1, j+1
		case j == len(gotSettled) || i < len(wantSettled) && common[i+1][j] >= common[i][j+1]:
			shown = append(shown, "    - "+want[i])
			i++
		default:
			shown = append(shown, "    + "+got[j])
			j++
		}
	}
	return strings.Join(shown, "\n")
}
