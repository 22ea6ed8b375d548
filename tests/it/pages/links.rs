//! Links: each leads to a file and a heading that exist, and each page of `docs/` is found from the README.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path, PathBuf};

use url::Url;

use super::markdown::Page;
use super::{folder_with, pages_in, project};

#[test]
fn every_link_of_a_page_leads_to_something_that_exists() {
    let pages = pages_in(&project());
    let links = pages.iter().map(|page| page.links.len()).sum::<usize>();
    assert!(pages.len() > 10 && links > 50, "{} pages with {links} links are too few to be all", pages.len());
    let dead = dead_links(&project(), &pages);
    assert!(dead.is_empty(), "{} links lead nowhere:\n{}", dead.len(), dead.join("\n"));
}

#[test]
fn every_page_of_docs_is_found_from_the_readme() {
    let lost = pages_without_a_way(&pages_in(&project()));
    assert!(lost.is_empty(), "no link leads from README.md to {}", lost.join(", "));
}

#[test]
fn a_dead_link_is_reported_with_its_line_and_reason() {
    let folder = folder_with(&[
        ("README.md", "# A\n\n[a](#a) [b](#b) [c](docs/c.md) [d](docs/d.md#d)\n[e](docs/d.md#e) [f](../f.md) [g](docs)\n"),
        ("docs/d.md", "## D\n![h](h.png) [i](https://example.org/i) [j](http://example.org) [k](https://) [l](/docs/d.md)\n"),
        ("docs/m.md", "[n](../README.md#a) [o](d.md?#d) [p](../docs#d)\n"),
    ]);
    let pages = pages_in(folder.path());
    let expected = [
        "README.md:3: #b is no heading of README.md",
        "README.md:3: docs/c.md does not exist",
        "README.md:4: docs/d.md#e is no heading of docs/d.md",
        "README.md:4: ../f.md leads out of the project",
        "docs/d.md:2: h.png does not exist",
        "docs/d.md:2: http://example.org is not https",
        "docs/d.md:2: https:// is no address: empty host",
        "docs/d.md:2: /docs/d.md is not relative",
        "docs/m.md:1: d.md?#d does not exist",
        "docs/m.md:1: ../docs#d leads to a heading of something that is no page",
    ];
    assert_eq!(dead_links(folder.path(), &pages), expected);
    assert_eq!(pages_without_a_way(&pages), ["docs/m.md"]);
}

fn dead_links(root: &Path, pages: &[Page]) -> Vec<String> {
    let by_path: BTreeMap<&Path, &Page> = pages.iter().map(|page| (page.path.as_path(), page)).collect();
    let mut dead = Vec::new();
    for page in pages {
        for link in &page.links {
            if let Err(reason) = follow(root, &by_path, page, &link.target) {
                dead.push(format!("{}: {} {reason}", page.at(link.line), link.target));
            }
        }
    }
    dead
}

/// Says why the link leads nowhere, if it does.
fn follow(root: &Path, pages: &BTreeMap<&Path, &Page>, from: &Page, target: &str) -> Result<(), String> {
    if target.starts_with('/') {
        return Err("is not relative".to_owned());
    }
    if target.split_once(':').is_some_and(|(scheme, _)| scheme.chars().all(|char| char.is_ascii_alphanumeric())) {
        let url = Url::parse(target).map_err(|error| format!("is no address: {error}"))?;
        return if ["https", "mailto"].contains(&url.scheme()) { Ok(()) } else { Err("is not https".to_owned()) };
    }
    let (file, anchor) = target.split_once('#').map_or((target, None), |(file, anchor)| (file, Some(anchor)));
    let path = resolve(&from.path, file).ok_or("leads out of the project")?;
    if !root.join(&path).exists() {
        return Err("does not exist".to_owned());
    }
    let Some(anchor) = anchor else { return Ok(()) };
    let page = pages.get(path.as_path()).ok_or("leads to a heading of something that is no page")?;
    if page.anchors.contains(anchor) { Ok(()) } else { Err(format!("is no heading of {}", path.display())) }
}

/// The path of a link from the folder of the project, unless it leaves that.
fn resolve(from: &Path, file: &str) -> Option<PathBuf> {
    if file.is_empty() {
        return Some(from.to_owned());
    }
    let mut path = from.parent()?.to_owned();
    for component in Path::new(file).components() {
        match component {
            Component::ParentDir if path.pop() => {}
            Component::ParentDir => return None,
            Component::CurDir => {}
            other => path.push(other),
        }
    }
    Some(path)
}

/// The pages of `docs/` to which no chain of links leads from the README.
fn pages_without_a_way(pages: &[Page]) -> Vec<String> {
    let mut found = BTreeSet::from([PathBuf::from("README.md")]);
    let mut next: Vec<&Path> = vec![Path::new("README.md")];
    while let Some(path) = next.pop() {
        for page in pages.iter().filter(|page| page.path == path) {
            for link in &page.links {
                let file = link.target.split('#').next().unwrap_or_default();
                let linked = resolve(&page.path, file).and_then(|linked| pages.iter().find(|page| page.path == linked));
                if let Some(linked) = linked
                    && found.insert(linked.path.clone())
                {
                    next.push(&linked.path);
                }
            }
        }
    }
    let is_lost = |page: &&Page| page.path.starts_with("docs") && !found.contains(&page.path);
    pages.iter().filter(is_lost).map(|page| page.path.display().to_string()).collect()
}
