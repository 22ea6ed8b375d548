//! When two names look the same.
//!
//! People copy the name of a field from a screen into the settings. What they cannot see there must not decide whether a rule
//! holds: whether an ö is one character or an o with a mark (Unicode has both), blanks around the name, which kind of blank is
//! within it, how many, and characters without a width. So names in rules are compared by their [`folded`] form. Of two fields that
//! differ only so, a rule covers both. Upper and lower case are visible, so they count.

use std::borrow::Cow;

use unicode_normalization::{UnicodeNormalization, is_nfc};

/// A name without what nobody sees of it: equal for names that look the same.
pub fn folded(name: &str) -> Cow<'_, str> {
    if is_folded_ascii(name) {
        return Cow::Borrowed(name);
    }
    let visible: String = name.chars().filter(|character| !is_invisible(*character)).nfc().collect();
    let words: Vec<&str> = visible.split(char::is_whitespace).filter(|word| !word.is_empty()).collect();
    let folded = words.join(" ");
    debug_assert!(is_nfc(&folded));
    if folded == name { Cow::Borrowed(name) } else { Cow::Owned(folded) }
}

/// Nearly all names are, and every value of every record may be looked up by its name.
pub(super) fn is_folded_ascii(name: &str) -> bool {
    let mut after_blank = true;
    for byte in name.bytes() {
        match byte {
            b' ' if !after_blank => after_blank = true,
            0x21..=0x7e => after_blank = false,
            _ => return false,
        }
    }
    !after_blank || name.is_empty()
}

/// Characters that take no room: they join or part others, set the direction of a text, or choose how the one before looks.
fn is_invisible(character: char) -> bool {
    matches!(character,
        '\u{00ad}' | '\u{034f}' | '\u{061c}' | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{e0000}'..='\u{e0fff}')
        || (character.is_control() && !character.is_whitespace())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_that_look_the_same_are_folded_to_one() {
        for (name, expected) in [
            ("Notes", "Notes"),
            ("Notes ", "Notes"),
            ("\u{a0}Notes\u{3000}\t", "Notes"),
            ("\u{feff}No\u{200b}tes", "Notes"),
            ("Days  until\u{a0}renewal", "Days until renewal"),
            ("Gro\u{308}sse", "Gr\u{f6}sse"),
            ("Gr\u{f6}sse", "Gr\u{f6}sse"),
            ("\u{1112}\u{1161}\u{11ab}", "\u{d55c}"),
            ("\u{2126}", "\u{3a9}"),
            ("\u{2764}\u{fe0f} Love", "\u{2764} Love"),
            ("o\u{200d}\u{308}", "\u{f6}"),
            ("m\u{b2}", "m\u{b2}"),
            ("", ""),
            (" \u{200b} ", ""),
        ] {
            assert_eq!(folded(name), expected, "{name:?}");
        }
        assert_ne!(folded("notes"), folded("Notes"), "case can be seen");
    }

    proptest! {
        #[test]
        fn blanks_around_a_name_and_the_form_of_its_marks_make_no_difference(
            name in "[a-zäöé한Ω #.,\u{a0}\u{308}]{0,12}",
            before in "[ \t\u{a0}\u{200b}\u{feff}]{0,3}",
            after in "[ \n\u{3000}\u{200d}\u{2060}]{0,3}",
        ) {
            let expected = folded(&name);
            for spelt in [name.nfc().collect::<String>(), name.nfd().collect()] {
                let around = format!("{before}{spelt}{after}");
                prop_assert_eq!(&folded(&around), &expected);
            }
            let again = folded(&expected);
            prop_assert_eq!(&again, &expected, "folding is final");
            prop_assert!(matches!(again, Cow::Borrowed(_)));
        }

        #[test]
        fn any_name_is_folded_to_a_final_form(name in any::<String>()) {
            let once = folded(&name).into_owned();
            prop_assert_eq!(folded(&once), once.as_str());
        }
    }
}
