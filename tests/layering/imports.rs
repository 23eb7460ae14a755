//! Which file of a crate imports which, read from its paths: `use` declarations, and paths that begin with `crate`,
//! `super`, `self` or the name of a child module.
//!
//! A re-export (`pub use`) hands a name on. It is an import of the file that defines the name for whoever uses the
//! name, and none of the file that hands it on. Code under `#[cfg(test)]` does not count. Paths of macros that another
//! file defines are not seen.

use proc_macro2::{Delimiter, TokenStream, TokenTree};
use std::collections::{BTreeMap, BTreeSet};

/// The segments of a path, `crate` left out.
type Path = Vec<String>;

/// The imports of each file: for each, the files whose names it uses.
pub type Imports = BTreeMap<String, BTreeSet<String>>;

/// Reads the imports of a crate. `sources` holds its files by their path below `src/`.
pub fn imports(sources: &BTreeMap<String, String>) -> Imports {
    let paths: BTreeMap<Path, &String> = sources.keys().map(|f| (module_path(f), f)).collect();
    let modules: BTreeMap<Path, Module> = sources
        .iter()
        .map(|(file, source)| (module_path(file), Module::read(file, source, &paths)))
        .collect();
    let mut all = Imports::new();
    for (path, module) in &modules {
        let file = paths[path];
        let imported = module.uses.iter().map(|used| resolve(used, &modules, 0));
        let imported = imported.map(|path| paths[&path].clone());
        let others = imported.filter(|other| other != file).collect();
        all.insert(file.clone(), others);
    }
    all
}

/// Returns the module that a file holds.
fn module_path(file: &str) -> Path {
    let path = file.trim_end_matches(".rs");
    let mut segments: Path = path.split('/').map(str::to_owned).collect();
    if matches!(
        segments.last().map(String::as_str),
        Some("mod" | "lib" | "main")
    ) {
        segments.pop();
    }
    segments
}

/// Returns the module that defines what a path names, following re-exports.
fn resolve(path: &[String], modules: &BTreeMap<Path, Module>, depth: usize) -> Path {
    let len = (0..=path.len())
        .rev()
        .find(|len| modules.contains_key(&path[..*len]))
        .unwrap_or(0);
    let (module, rest) = path.split_at(len);
    let target = rest.first().and_then(|name| {
        let reexports = &modules.get(module)?.reexports;
        reexports.get(name)
    });
    match target {
        Some(target) if depth < 8 => {
            let path = [target, &rest[1..]].concat();
            resolve(&path, modules, depth + 1)
        }
        _ => module.to_vec(),
    }
}

/// What a file names.
#[derive(Default)]
struct Module {
    uses: Vec<Path>,
    /// The names that the file hands on, and what they stand for.
    reexports: BTreeMap<String, Path>,
}

impl Module {
    fn read(file: &str, source: &str, modules: &BTreeMap<Path, &String>) -> Module {
        let tokens: TokenStream = source
            .parse()
            .unwrap_or_else(|error| panic!("{file}: {error}"));
        let mut module = Module::default();
        let mut reader = Reader {
            modules,
            found: &mut module,
        };
        reader.walk(tokens, &module_path(file));
        module
    }
}

struct Reader<'a> {
    modules: &'a BTreeMap<Path, &'a String>,
    found: &'a mut Module,
}

impl Reader<'_> {
    /// Reads tokens of the module at `here`.
    fn walk(&mut self, tokens: TokenStream, here: &[String]) {
        let tokens: Vec<TokenTree> = tokens.into_iter().collect();
        let mut i = 0;
        while i < tokens.len() {
            if is_punct(tokens.get(i), '#') && is_cfg_test(tokens.get(i + 1)) {
                i = after_item(&tokens, i + 2);
                continue;
            }
            match &tokens[i] {
                TokenTree::Group(group) => {
                    self.walk(group.stream(), here);
                    i += 1;
                }
                TokenTree::Ident(word) if word == "mod" => {
                    let inner = tokens.get(i + 1).map(ToString::to_string);
                    match (inner, tokens.get(i + 2)) {
                        (Some(name), Some(TokenTree::Group(body))) => {
                            self.walk(body.stream(), &[here, &[name]].concat());
                            i += 3;
                        }
                        _ => i += 2,
                    }
                }
                TokenTree::Ident(word) if word == "use" => {
                    let is_reexport = i > 0 && is_visibility(&tokens[..i]);
                    let len = tokens[i..].iter().take_while(|t| !is(t, ';')).count();
                    let mut names = Vec::new();
                    use_tree(&tokens[i + 1..i + len], &[], &mut names);
                    for (name, path) in names {
                        self.note(&path, here, is_reexport.then_some(name));
                    }
                    i += len;
                }
                TokenTree::Ident(_) if i > 0 && is_punct(tokens.get(i - 1), ':') => i += 1,
                TokenTree::Ident(_) => {
                    let (path, len) = path_at(&tokens[i..]);
                    if path.len() > 1 {
                        self.note(&path, here, None);
                    }
                    i += len;
                }
                _ => i += 1,
            }
        }
    }

    /// Notes a path; `reexport`: the name under which it is handed on.
    fn note(&mut self, path: &[String], here: &[String], reexport: Option<String>) {
        let Some(path) = self.absolute(path, here) else {
            return;
        };
        match reexport {
            Some(name) => drop(self.found.reexports.insert(name, path)),
            None => self.found.uses.push(path),
        }
    }

    /// Returns a path from the root of the crate; `None` if it leads to another crate.
    fn absolute(&self, path: &[String], here: &[String]) -> Option<Path> {
        let mut base = here.to_vec();
        let mut rest = path;
        match path.first()?.as_str() {
            "crate" => {
                base.clear();
                rest = &path[1..];
            }
            "self" => rest = &path[1..],
            "super" => {
                while rest.first().is_some_and(|word| word == "super") {
                    base.pop();
                    rest = &rest[1..];
                }
            }
            child => {
                let child = [here, &[child.to_owned()]].concat();
                self.modules.get(&child)?;
            }
        }
        base.extend_from_slice(rest);
        Some(base)
    }
}

/// Reads the names of a `use` declaration and their paths.
fn use_tree(tokens: &[TokenTree], prefix: &[String], names: &mut Vec<(String, Path)>) {
    let mut path = prefix.to_vec();
    let mut alias = None;
    let mut i = 0;
    while i < tokens.len() {
        match &tokens[i] {
            TokenTree::Ident(word) if word == "as" => {
                alias = tokens.get(i + 1).map(ToString::to_string);
                i += 1;
            }
            TokenTree::Ident(word) if word == "self" && !path.is_empty() => {}
            TokenTree::Ident(word) => path.push(word.to_string()),
            TokenTree::Group(group) if group.delimiter() == Delimiter::Brace => {
                let inner: Vec<TokenTree> = group.stream().into_iter().collect();
                for part in inner.split(|token| is(token, ',')) {
                    if !part.is_empty() {
                        use_tree(part, &path, names);
                    }
                }
                return;
            }
            _ => {}
        }
        i += 1;
    }
    let name = alias.or_else(|| path.last().cloned()).unwrap_or_default();
    names.push((name, path));
}

/// Reads the path at the start of tokens: its segments and how many tokens it takes.
fn path_at(tokens: &[TokenTree]) -> (Path, usize) {
    let mut path = vec![tokens[0].to_string()];
    let mut len = 1;
    while is_punct(tokens.get(len), ':') && is_punct(tokens.get(len + 1), ':') {
        let Some(TokenTree::Ident(segment)) = tokens.get(len + 2) else {
            break;
        };
        path.push(segment.to_string());
        len += 3;
    }
    (path, len)
}

/// Returns the index after the item that begins at `i`: after its body or its semicolon.
fn after_item(tokens: &[TokenTree], i: usize) -> usize {
    let is_end = |token: &TokenTree| {
        let is_body =
            matches!(token, TokenTree::Group(group) if group.delimiter() == Delimiter::Brace);
        is_body || is(token, ';')
    };
    let len = tokens[i..].iter().position(is_end);
    len.map_or(tokens.len(), |len| i + len + 1)
}

/// Returns whether tokens end with `pub` or `pub(...)`.
fn is_visibility(tokens: &[TokenTree]) -> bool {
    let mut last = tokens.iter().rev();
    match last.next() {
        Some(TokenTree::Group(_)) => last.next().is_some_and(|token| token.to_string() == "pub"),
        Some(token) => token.to_string() == "pub",
        None => false,
    }
}

fn is_cfg_test(attribute: Option<&TokenTree>) -> bool {
    attribute.is_some_and(|token| token.to_string().replace(' ', "") == "[cfg(test)]")
}

fn is_punct(token: Option<&TokenTree>, c: char) -> bool {
    token.is_some_and(|token| is(token, c))
}

fn is(token: &TokenTree, c: char) -> bool {
    matches!(token, TokenTree::Punct(punct) if punct.as_char() == c)
}
