//! Imports between the files of a crate, from its text: `use` statements and paths in the code.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Re-exports of re-exports are followed this far.
const REEXPORTS_MAX: usize = 8;

/// A path in the source, such as `crate::a::b`.
type Words = Vec<String>;

/// The modules that each module imports.
type Imports = BTreeMap<Words, BTreeSet<Words>>;

/// The files of a crate by their modules.
#[derive(Debug)]
pub(crate) struct Crate {
    modules: BTreeMap<Words, PathBuf>,
}

impl Crate {
    /// The crates of these files: a folder with a `lib.rs` or a `main.rs` is the root of a crate.
    /// Files of tests are left out.
    pub(crate) fn all(files: &[PathBuf]) -> Vec<Self> {
        let is_root = |file: &&PathBuf| file.ends_with("lib.rs") || file.ends_with("main.rs");
        let roots: BTreeSet<_> = files.iter().filter(is_root).filter_map(|f| f.parent()).collect();
        let of_root = |root: &&Path| {
            let modules = files.iter().filter_map(|file| Some((module(root, file)?, file.clone())));
            Self { modules: modules.collect() }
        };
        roots.iter().map(of_root).collect()
    }

    /// Files that import each other in a circle, if there are any. A module and those within it may
    /// use each other; a circle that needs both is none.
    pub(crate) fn circle(&self, text: &dyn Fn(&Path) -> String) -> Option<Vec<PathBuf>> {
        let imports = self.imports(text);
        let is_within = |a: &Words, b: &Words| a.starts_with(b);
        let downwards = without(&imports, |from, to| is_within(from, to));
        let upwards = without(&imports, |from, to| is_within(to, from));
        let circle = [downwards, upwards].into_iter().map(in_circles).find(|c| !c.is_empty())?;
        Some(circle.iter().map(|name| self.modules[name].clone()).collect())
    }

    /// The modules that each module imports.
    fn imports(&self, text: &dyn Fn(&Path) -> String) -> Imports {
        let code = |file| without_tests(&plain(&text(file)));
        let code: BTreeMap<_, _> = self.modules.iter().map(|(name, f)| (name, code(f))).collect();
        let reexports =
            code.iter().map(|(name, code)| (*name, self.reexports(name, code))).collect();
        let of = |(name, code): (&&Words, &String)| {
            let targets = self.paths(name, code).filter_map(|path| self.file_of(path, &reexports));
            ((*name).clone(), targets.filter(|target| target != *name).collect())
        };
        code.iter().map(of).collect()
    }

    /// The names that a module passes on, with the paths that they stand for. A name that its own
    /// code uses as well is not only passed on.
    fn reexports(&self, name: &Words, code: &str) -> BTreeMap<String, Words> {
        let uses = statements(code).into_iter().filter(|(public, _)| *public);
        let paths = uses.flat_map(|(_, tree)| expand(&tree));
        let named =
            paths.filter_map(|path| Some((path.last()?.clone(), self.absolute(name, path)?)));
        named.collect()
    }

    /// The absolute paths that a module's code uses.
    fn paths<'a>(&'a self, name: &'a Words, code: &'a str) -> impl Iterator<Item = Words> + 'a {
        let statements = statements(code);
        let mut rest = code.to_owned();
        for (_, tree) in &statements {
            rest = rest.replace(tree.as_str(), "");
        }
        let uses_itself = {
            let rest = rest.clone();
            move |path: &Words| path.last().is_some_and(|last| words(&rest).any(|w| w == *last))
        };
        let imported = statements.into_iter().flat_map(move |(public, tree)| {
            let paths = expand(&tree).into_iter();
            paths.filter(|path| !public || uses_itself(path)).collect::<Vec<_>>()
        });
        let qualified: Vec<_> = qualified(&rest).collect();
        imported.chain(qualified).filter_map(move |path| self.absolute(name, path))
    }

    /// A path from the root of the crate; `None` if it leads out of the crate.
    fn absolute(&self, module: &Words, path: Words) -> Option<Words> {
        let (first, rest) = path.split_first()?;
        let mut base = module.clone();
        match first.as_str() {
            "crate" => base.clear(),
            "self" => {}
            "super" => drop(base.pop()?),
            child => {
                base.push(child.to_owned());
                if !self.modules.contains_key(&base) {
                    return None;
                }
            }
        }
        let ups = rest.iter().take_while(|word| *word == "super").count();
        base.truncate(base.len().checked_sub(ups)?);
        base.extend(rest[ups..].iter().cloned());
        Some(base)
    }

    /// The module whose file defines the item at a path.
    fn file_of(
        &self,
        mut path: Words,
        reexports: &BTreeMap<&Words, BTreeMap<String, Words>>,
    ) -> Option<Words> {
        for _ in 0..REEXPORTS_MAX {
            let depth =
                (0..=path.len()).rev().find(|&depth| self.modules.contains_key(&path[..depth]))?;
            let (name, item) = path.split_at(depth);
            let further = item.first().and_then(|item| reexports.get(&name.to_vec())?.get(item));
            match further {
                Some(further) => path = further.iter().chain(&item[1..]).cloned().collect(),
                None => return Some(name.to_vec()),
            }
        }
        None
    }
}

/// Without the imports of which this is true.
fn without(imports: &Imports, is_left_out: impl Fn(&Words, &Words) -> bool) -> Imports {
    let kept = |(from, targets): (&Words, &BTreeSet<Words>)| {
        let targets = targets.iter().filter(|to| !is_left_out(from, to));
        (from.clone(), targets.cloned().collect())
    };
    imports.iter().map(kept).collect()
}

/// The modules that are in a circle, or on the way between circles.
fn in_circles(mut imports: Imports) -> Vec<Words> {
    loop {
        let before = imports.len();
        // A module that no other imports, or that imports none, is in no circle.
        let imported: BTreeSet<_> = imports.values().flatten().cloned().collect();
        imports.retain(|name, targets| imported.contains(name) && !targets.is_empty());
        let left: BTreeSet<_> = imports.keys().cloned().collect();
        imports.values_mut().for_each(|targets| targets.retain(|target| left.contains(target)));
        if imports.len() == before {
            return imports.into_keys().collect();
        }
    }
}

/// The module that a file of a crate is; `None` if it belongs to another crate, or to tests.
fn module(root: &Path, file: &Path) -> Option<Words> {
    let below = file.strip_prefix(root).ok()?.with_extension("");
    let mut words: Words = below.iter().map(|word| word.to_string_lossy().into_owned()).collect();
    if words.iter().any(|word| word == "tests" || word == "src" || word == "benches") {
        return None;
    }
    if words.last().is_some_and(|last| ["mod", "lib", "main"].contains(&last.as_str())) {
        words.pop();
    }
    Some(words)
}

/// The text without comments, and with empty strings.
fn plain(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for line in text.lines() {
        let mut chars = line.char_indices().peekable();
        let mut in_string = false;
        while let Some((at, c)) = chars.next() {
            match c {
                '\\' if in_string => drop(chars.next()),
                '"' => in_string = !in_string,
                '/' if !in_string && line[at..].starts_with("//") => break,
                '\'' if line[at..].starts_with("'\"'") => drop((chars.next(), chars.next())),
                _ if in_string => {}
                _ => out.push(c),
            }
        }
        out.push('\n');
    }
    out
}

/// The code before the tests, which are last in a file.
fn without_tests(code: &str) -> String {
    let end = code.find("#[cfg(test)]\nmod tests {").unwrap_or(code.len());
    code[..end].to_owned()
}

/// The `use` statements, each with whether it is a re-export.
fn statements(code: &str) -> Vec<(bool, String)> {
    let mut found = Vec::new();
    let mut rest = code;
    while let Some(at) = rest.find("use ") {
        let line = rest[..at].rsplit('\n').next().unwrap_or_default().trim();
        let after = &rest[at + 4..];
        let end = after.find(';').unwrap_or(after.len());
        if line.is_empty() || line.starts_with("pub") {
            found.push((!line.is_empty(), after[..end].to_owned()));
        }
        rest = &after[end..];
    }
    found
}

/// The paths of a `use` tree.
fn expand(tree: &str) -> Vec<Words> {
    let tree: String = tree.split_whitespace().collect::<Vec<_>>().join(" ");
    let Some((head, group)) = tree.split_once('{') else {
        let path = tree.split(" as ").next().unwrap_or_default();
        let words = path.split("::").map(|word| word.trim().to_owned());
        return vec![words.filter(|word| !word.is_empty() && word != "*").collect()];
    };
    let head: Words =
        head.split("::").map(|word| word.trim().to_owned()).filter(|w| !w.is_empty()).collect();
    let group = group.rsplit_once('}').map_or(group, |(group, _)| group);
    let parts = split(group).into_iter().flat_map(|part| expand(&part));
    parts
        .map(|part| {
            let part = part.into_iter().filter(|word| word != "self");
            head.iter().cloned().chain(part).collect()
        })
        .collect()
}

/// The parts between the commas of a group, groups within it kept whole.
fn split(group: &str) -> Vec<String> {
    let (mut parts, mut depth) = (vec![String::new()], 0_usize);
    for c in group.chars() {
        match c {
            '{' => depth += 1,
            '}' => depth = depth.saturating_sub(1),
            ',' if depth == 0 => {
                parts.push(String::new());
                continue;
            }
            _ => {}
        }
        if let Some(part) = parts.last_mut() {
            part.push(c);
        }
    }
    parts.into_iter().filter(|part| !part.trim().is_empty()).collect()
}

/// The paths in code that name a module: all words before the last `::`, and the word after it.
fn qualified(code: &str) -> impl Iterator<Item = Words> + '_ {
    let is_path = |c: char| c.is_alphanumeric() || c == '_' || c == ':';
    code.split(move |c: char| !is_path(c))
        .filter(|path| path.contains("::"))
        .map(|path| path.split("::").map(str::to_owned).filter(|word| !word.is_empty()).collect())
}

fn words(code: &str) -> impl Iterator<Item = &str> {
    code.split(|c: char| !(c.is_alphanumeric() || c == '_'))
}
