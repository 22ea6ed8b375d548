//! Compares what a command printed with what a page says that it prints.
//!
//! `…` within a line stands for any text, a line of only `…` for any lines. Lines of the log at level INFO may be left out of a
//! page: what a run narrates on stderr would hide its result.

use chrono::{DateTime, Utc};

const ANYTHING: &str = "…";

/// How the two differ, line by line; nothing if they do not.
pub(super) fn difference(expected: &str, printed: &str) -> Option<String> {
    let expected: Vec<&str> = lines(expected);
    let printed: Vec<&str> = lines(printed);
    let distances = distances(&expected, &printed);
    if distances[0][0] == 0 {
        return None;
    }
    let mut report = vec!["- what the page says, + what was printed:".to_owned()];
    let (mut says, mut was) = (0, 0);
    while says < expected.len() || was < printed.len() {
        let here = distances[says][was];
        let is_any = expected.get(says).is_some_and(|line| line.trim() == ANYTHING);
        let both = says < expected.len() && was < printed.len() && matches(expected[says], printed[was]);
        if both && !is_any && distances[says + 1][was + 1] == here {
            report.push(format!("  {}", printed[was]));
            (says, was) = (says + 1, was + 1);
        } else if is_any && distances[says + 1][was] == here {
            says += 1;
        } else if was < printed.len() && distances[says][was + 1] == here {
            // What `…` stands for, or a line of the log.
            if is_any {
                report.push(format!("  {}", printed[was]));
            }
            was += 1;
        } else if says < expected.len() && distances[says + 1][was] < here {
            report.push(format!("- {}", expected[says]));
            says += 1;
        } else {
            report.push(format!("+ {}", printed[was]));
            was += 1;
        }
    }
    Some(report.join("\n"))
}

fn lines(text: &str) -> Vec<&str> {
    text.trim_end().lines().map(str::trim_end).collect()
}

/// How many lines have to be taken out and put in, from each pair of positions to the end.
fn distances(expected: &[&str], printed: &[&str]) -> Vec<Vec<usize>> {
    let mut distances = vec![vec![0; printed.len() + 1]; expected.len() + 1];
    for says in (0..=expected.len()).rev() {
        for was in (0..=printed.len()).rev() {
            let (expected, printed) = (expected.get(says), printed.get(was));
            let is_any = expected.is_some_and(|line| line.trim() == ANYTHING);
            let missing = expected.map(|_| usize::from(!is_any) + distances[says + 1][was]);
            let too_much = printed.map(|line| usize::from(!is_any && !is_narration(line)) + distances[says][was + 1]);
            let both = expected.zip(printed).filter(|(expected, printed)| matches(expected, printed));
            let both = both.map(|_| distances[says + 1][was + 1]);
            distances[says][was] = [missing, too_much, both].into_iter().flatten().min().unwrap_or(0);
        }
    }
    distances
}

/// A line of the log that says what happens as it should.
fn is_narration(line: &str) -> bool {
    let (time, rest) = line.split_once(' ').unwrap_or((line, ""));
    time.parse::<DateTime<Utc>>().is_ok() && rest.trim_start().starts_with("INFO ")
}

fn matches(expected: &str, printed: &str) -> bool {
    let parts: Vec<&str> = expected.split(ANYTHING).collect();
    let [first, between @ .., last] = &parts[..] else { return expected == printed };
    let Some(mut rest) = printed.strip_prefix(first) else { return false };
    for part in between {
        let Some((_, behind)) = rest.split_once(part) else { return false };
        rest = behind;
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ellipsis_stands_for_any_text_and_alone_for_any_lines() {
        for (expected, printed) in [
            ("a\nb\n", "a \nb\n\n"),
            ("run … took … s", "run 1 took 0.3 s"),
            ("a\n…\nz", "a\nb\nc\nz"),
            ("a\n…\nz", "a\nz"),
            ("…\nb\n…", "a\nb\nb\nc"),
            ("…", ""),
            ("Done …", "Done …"),
            ("a\nb", "2026-11-27T02:14:00.4Z  INFO run 1 begins\na\n2026-11-27T02:14:00.4Z  INFO run 1\nb"),
            ("… INFO run 1", "2026-11-27T02:14:00.4Z  INFO run 1"),
        ] {
            assert_eq!(difference(expected, printed), None, "{expected:?} {printed:?}");
        }
        for (expected, printed) in [
            ("a", "b"),
            ("a", "a\nb"),
            ("a\nb", "a"),
            ("a…a", "a"),
            ("a…c…b", "acd"),
            ("a\n…\nz", "a\nz\nb"),
            ("", "a"),
            ("a", ""),
        ] {
            assert!(difference(expected, printed).is_some(), "{expected:?} {printed:?}");
        }
    }

    #[test]
    fn a_difference_shows_the_lines_around_it() {
        let expected = "begin\n…\nrun 1 failed after … s\nend";
        let printed = "begin\na\nb\nrun 1 succeeded after 2 s\nend\nmore";
        let report = difference(expected, printed).unwrap();
        insta::assert_snapshot!(report, @"
        - what the page says, + what was printed:
          begin
          a
          b
          run 1 succeeded after 2 s
        - run 1 failed after … s
          end
        + more
        ");
    }
}
