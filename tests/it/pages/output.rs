//! Compares what a command printed with what a page says that it prints.
//!
//! `…` within a line stands for any text, a line of only `…` for any lines.

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
        let rest = |says: usize, was: usize| distances.get(says).and_then(|row| row.get(was)).copied().unwrap_or(usize::MAX);
        let is_any = expected.get(says).is_some_and(|line| line.trim() == ANYTHING);
        if is_any && rest(says + 1, was) == rest(says, was) {
            says += 1;
        } else if is_any && rest(says, was + 1) == rest(says, was) {
            report.push(format!("  {}", printed[was]));
            was += 1;
        } else if says < expected.len()
            && was < printed.len()
            && matches(expected[says], printed[was])
            && rest(says + 1, was + 1) == rest(says, was)
        {
            report.push(format!("  {}", printed[was]));
            (says, was) = (says + 1, was + 1);
        } else if rest(says + 1, was) < rest(says, was) {
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
            let cost = usize::from(expected.get(says).is_some_and(|line| line.trim() != ANYTHING));
            let without_expected = (says < expected.len()).then(|| cost + distances[says + 1][was]);
            // At the end of what is expected, anything else is too much.
            let is_too_much = usize::from(cost == 1 || says == expected.len());
            let without_printed = (was < printed.len()).then(|| is_too_much + distances[says][was + 1]);
            let both = (says < expected.len() && was < printed.len() && matches(expected[says], printed[was]))
                .then(|| distances[says + 1][was + 1]);
            distances[says][was] = [without_expected, without_printed, both].into_iter().flatten().min().unwrap_or(0);
        }
    }
    distances
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
