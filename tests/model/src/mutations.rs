//! The model's teeth: each rule of the core is taken away once, and the model must notice.
//!
//! A mutation is a text to be replaced in a copy of `src/decide`. The copy is compiled together with this model as
//! a program of its own, so the daemon carries no switch for it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;

use crate::story;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Mutations {
    mutation: Vec<Mutation>,
}

/// One rule taken away.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mutation {
    /// What is wrong with the mutated core.
    pub name: String,
    file: String,
    from: String,
    to: String,
    /// A second place where the same rule is asked for, in the same file unless `and_file` names another.
    and_from: Option<String>,
    and_file: Option<String>,
    #[serde(default)]
    and_to: String,
    search: String,
    /// Left out of `model mutations --short`: its story holds the same of the core, and the others show that the model has teeth.
    #[serde(default)]
    pub long: bool,
}

/// The list of this checkout.
pub fn list() -> Result<Vec<Mutation>> {
    let path = crate_directory().join("mutations.toml");
    let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    let list: Mutations = toml::from_str(&text).with_context(|| path.display().to_string())?;
    Ok(list.mutation)
}

fn crate_directory() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A directory in which mutated cores are built.
pub struct Workshop {
    directory: PathBuf,
    target: PathBuf,
}

impl Workshop {
    /// Makes a crate of the model's sources and a copy of the core.
    pub fn new() -> Result<Workshop> {
        let root = crate_directory().join("../..").canonicalize()?;
        let target = match std::env::var_os("CARGO_TARGET_DIR") {
            Some(target) => PathBuf::from(target),
            None => root.join("target"),
        };
        let directory = target.join("mutants");
        let manifest = fs::read_to_string(crate_directory().join("Cargo.toml"))?
            .replace("name = \"rebootd-model\"", "name = \"rebootd-mutant\"")
            .replace("name = \"model\"", "name = \"mutant\"")
            .replace("path = \"../..\"", &format!("path = {:?}", root.display().to_string()));
        let of_workspace = fs::read_to_string(root.join("Cargo.toml"))?;
        let package = of_workspace.split("\n[").find(|part| part.starts_with("workspace.package]"));
        let package = package.context("Cargo.toml has no [workspace.package]")?;
        // The same profile for the library: it is built already. The mutants live for seconds.
        let manifest = format!(
            "{manifest}\n[workspace]\nresolver = \"3\"\n\n[{package}\n[profile.dev]\ndebug = \"line-tables-only\"\n\
             [profile.dev.package.rebootd]\nopt-level = 2\n\
             [profile.dev.package.rebootd-mutant]\nopt-level = 1\ndebug-assertions = false\noverflow-checks = false\n"
        );
        fs::create_dir_all(directory.join("src"))?;
        fs::write(directory.join("Cargo.toml"), manifest)?;
        fs::copy(root.join("Cargo.lock"), directory.join("Cargo.lock"))?;
        Ok(Workshop { directory, target })
    }

    /// Builds the mutant and runs its search. Gives the promise that broke, or `None` if nothing was noticed.
    pub fn try_out(&self, mutation: &Mutation, save: Option<&Path>) -> Result<Option<String>> {
        self.copy_sources()?;
        self.mutate(mutation)?;
        let built = Command::new(env!("CARGO"))
            .args(["build", "--quiet", "--manifest-path"])
            .arg(self.directory.join("Cargo.toml"))
            .arg("--target-dir")
            .arg(&self.target)
            .stdin(Stdio::null())
            .output()?;
        ensure!(
            built.status.success(),
            "the mutant {:?} does not compile:\n{}",
            mutation.name,
            String::from_utf8_lossy(&built.stderr)
        );
        let kept = self.directory.join("stories");
        let output = Command::new(self.target.join("debug/mutant"))
            .args(["check", "--first", &mutation.search, "--save"])
            .arg(&kept)
            .stdin(Stdio::null())
            .output()?;
        if let Some(directory) = save
            && output.status.code() == Some(1)
        {
            self.save(mutation, &kept.join(format!("{}-1.story", mutation.search)), directory)?;
        }
        let told = String::from_utf8_lossy(&output.stdout);
        match output.status.code() {
            Some(0) => Ok(None),
            Some(1) => {
                let found = told.lines().find_map(|line| line.trim().strip_prefix("VIOLATION "));
                Ok(Some(found.unwrap_or("?").to_owned()))
            }
            _ => bail!(
                "the mutant {:?} ended badly:\n{told}{}",
                mutation.name,
                String::from_utf8_lossy(&output.stderr)
            ),
        }
    }

    /// Keeps the mutant's run, played by the real core: where the rule stops it.
    fn save(&self, mutation: &Mutation, run: &Path, directory: &Path) -> Result<()> {
        let text = fs::read_to_string(run)?;
        let (first, rest) = text.split_once('\n').context("an empty story")?;
        let promise = first.split_once(": ").map_or(first, |(_, promise)| promise);
        let input = format!("# Mutant \"{}\": {promise}\n{rest}", mutation.name);
        fs::create_dir_all(directory)?;
        let path = directory.join(format!("{}.story", mutation.name.replace(' ', "-")));
        fs::write(path, story::replay(&input)?)?;
        Ok(())
    }

    fn copy_sources(&self) -> Result<()> {
        let sources = self.directory.join("src");
        copy(&crate_directory().join("src"), &sources)?;
        copy(&crate_directory().join("../../src/decide"), &sources.join("decide"))?;
        // What the core uses of the daemon and the daemon keeps to itself.
        fs::copy(crate_directory().join("../../src/words.rs"), sources.join("words.rs"))?;
        // The mutant's own core in the place of the daemon's.
        for file in ["agent.rs", "views.rs"] {
            let path = sources.join(file);
            let text = fs::read_to_string(&path)?.replace("use rebootd::decide::", "use crate::decide::");
            fs::write(&path, text)?;
        }
        replace(
            &sources.join("main.rs"),
            "mod agent;",
            "#[allow(warnings)]\nmod decide;\n#[allow(warnings)]\nmod words;\nuse rebootd::{access, notation};\nmod agent;",
        )
    }

    fn mutate(&self, mutation: &Mutation) -> Result<()> {
        let first = (&mutation.file, &mutation.from, &mutation.to);
        let and_file = mutation.and_file.as_ref().unwrap_or(&mutation.file);
        let second = mutation.and_from.as_ref().map(|from| (and_file, from, &mutation.and_to));
        for (file, from, to) in [Some(first), second].into_iter().flatten() {
            let path = self.directory.join("src/decide").join(file);
            let (from, to) = (from.trim_start_matches('\n'), to.trim_start_matches('\n'));
            replace(&path, from, to).with_context(|| format!("mutation {:?}", mutation.name))?;
        }
        Ok(())
    }
}

fn replace(path: &Path, from: &str, to: &str) -> Result<()> {
    let text = fs::read_to_string(path).with_context(|| path.display().to_string())?;
    let count = text.matches(from).count();
    ensure!(count == 1, "{} times in {}, expected once:\n{from}", count, path.display());
    fs::write(path, text.replacen(from, to, 1))?;
    Ok(())
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let to = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &to)?;
        } else {
            fs::copy(entry.path(), to)?;
        }
    }
    Ok(())
}
