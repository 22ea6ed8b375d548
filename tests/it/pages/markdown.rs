//! What a page in Markdown consists of, as far as it is tested: headings, links, blocks of code.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use pulldown_cmark::{CodeBlockKind, Event, Options, Parser, Tag, TagEnd};

pub(super) struct Page {
    /// From the folder of the project.
    pub(super) path: PathBuf,
    /// The anchors of its headings, as GitHub makes them.
    pub(super) anchors: BTreeSet<String>,
    pub(super) links: Vec<Link>,
    pub(super) blocks: Vec<Block>,
}

pub(super) struct Link {
    pub(super) line: usize,
    pub(super) target: String,
}

/// A fenced block of code.
pub(super) struct Block {
    /// Where its fence opens.
    pub(super) line: usize,
    /// What is written behind the fence.
    pub(super) info: String,
    pub(super) text: String,
}

impl Page {
    pub(super) fn parse(path: &Path, text: &str) -> Page {
        let mut page = Page { path: path.to_owned(), anchors: BTreeSet::new(), links: Vec::new(), blocks: Vec::new() };
        let mut headings = BTreeMap::new();
        let mut heading: Option<String> = None;
        let mut block: Option<Block> = None;
        for (event, range) in Parser::new_ext(text, Options::ENABLE_TABLES | Options::ENABLE_GFM).into_offset_iter() {
            let line = 1 + text[..range.start].matches('\n').count();
            match event {
                Event::Start(Tag::Heading { .. }) => heading = Some(String::new()),
                Event::End(TagEnd::Heading(_)) => {
                    page.anchors.extend(heading.take().map(|heading| anchor(&heading, &mut headings)));
                }
                Event::Start(Tag::Link { dest_url, .. } | Tag::Image { dest_url, .. }) => {
                    page.links.push(Link { line, target: dest_url.into_string() });
                }
                Event::Start(Tag::CodeBlock(CodeBlockKind::Fenced(info))) => {
                    block = Some(Block { line, info: info.into_string(), text: String::new() });
                }
                Event::End(TagEnd::CodeBlock) => page.blocks.extend(block.take()),
                Event::Text(text) | Event::Code(text) => {
                    if let Some(text_so_far) = heading.as_mut().or(block.as_mut().map(|block| &mut block.text)) {
                        text_so_far.push_str(&text);
                    }
                }
                _ => {}
            }
        }
        page
    }

    /// A place in it, for messages.
    pub(super) fn at(&self, line: usize) -> String {
        format!("{}:{line}", self.path.display())
    }
}

/// GitHub's rule: small letters; blanks become hyphens; only letters, digits, hyphens and underscores stay; a heading that was
/// there before gets a number. `headings` counts them.
fn anchor(heading: &str, headings: &mut BTreeMap<String, usize>) -> String {
    let kept = heading.trim().to_lowercase();
    let kept = kept.chars().filter(|char| char.is_alphanumeric() || " -_".contains(*char));
    let anchor: String = kept.map(|char| if char == ' ' { '-' } else { char }).collect();
    let times = headings.entry(anchor.clone()).or_default();
    *times += 1;
    if *times == 1 { anchor } else { format!("{anchor}-{}", *times - 1) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_heading_has_the_anchor_that_github_gives_it() {
        let text = "# Why is a record *not* there?\n## `sync --full`, and more\n## Größe_1\n## Größe_1\nUnderlined\n---\n";
        let page = Page::parse(Path::new("a.md"), text);
        let expected = ["größe_1", "größe_1-1", "sync---full-and-more", "underlined", "why-is-a-record-not-there"];
        assert_eq!(page.anchors.iter().map(String::as_str).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn a_block_within_a_list_has_its_own_text_and_the_line_of_its_fence() {
        let page = Page::parse(Path::new("a.md"), "# A\n\n- one\n\n  ```sh tested\n  a\n    b\n  ```\n");
        let [block] = &page.blocks[..] else { panic!("one block") };
        assert_eq!((block.line, block.info.as_str(), block.text.as_str()), (5, "sh tested", "a\n  b\n"));
    }
}
