//! The model checker: rebootd's own core, held against every run of events.

mod agent;
mod environment;
mod labels;
mod mutations;
mod search;
mod searches;
mod state;
mod steps;
mod story;
mod views;

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Mutex;
use std::time::Instant;

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};

use mutations::{Mutation, Workshop};
use search::Found;
use searches::Search;

/// Holds rebootd's core against every run of events.
#[derive(Parser)]
#[command(after_help = "\
A search goes through every state of a small cluster in which everything that may go wrong goes wrong at any time,
and runs the daemon's own code in it. What it finds is told as a story: the shortest run of events to it.

  model check                     all searches
  model check --short             those that take a minute or less each
  model check alone --save DIR    one, and keep what it finds as a story
  model replay DIR/x.story        play a story again
  model mutations                 does the model notice when a rule is taken away?")]
struct Cli {
    #[command(subcommand)]
    command: Commands,
}

#[derive(Subcommand)]
enum Commands {
    /// Say which searches there are
    List,
    /// Search; exits with 1 if a promise can be broken
    Check {
        /// Leave out the searches that take a minute or more each; `list` tells them
        #[arg(long, conflicts_with = "names")]
        short: bool,
        /// Stop at the first violation
        #[arg(long)]
        first: bool,
        /// Give up a search that has found so many states
        #[arg(long, default_value_t = 100_000_000)]
        limit: usize,
        /// Keep the run to each violation in this directory, as a story
        #[arg(long, value_name = "DIR")]
        save: Option<PathBuf>,
        /// Only these
        #[arg(value_name = "SEARCH")]
        names: Vec<String>,
    },
    /// Walk at random through a cluster that is too large to be searched
    Walk {
        /// Where to begin; each walk takes the next one
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// How many walks
        #[arg(long, default_value_t = 100)]
        walks: u64,
        /// How many steps each
        #[arg(long, default_value_t = 20_000)]
        steps: usize,
    },
    /// Take each rule of the core away, once; exits with 1 if the model does not notice
    Mutations {
        /// Keep the run that each mutant takes in this directory, as a story
        #[arg(long, value_name = "DIR")]
        save: Option<PathBuf>,
        /// Leave out those that take a minute or more each
        #[arg(long, conflicts_with = "names")]
        short: bool,
        /// Only those whose names contain this
        #[arg(value_name = "NAME")]
        names: Vec<String>,
    },
    /// Play stories again; exits with 1 if one goes another way than its golden output says
    Replay {
        /// Write what comes of them as their golden output
        #[arg(long)]
        bless: bool,
        /// The stories
        #[arg(value_name = "FILE", required = true)]
        files: Vec<PathBuf>,
    },
    /// All searches, walks and mutations; the last line is a JSON object
    Bench,
}

fn main() -> ExitCode {
    match run(Cli::parse().command) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("model: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn run(command: Commands) -> Result<bool> {
    match command {
        Commands::List => {
            for search in searches::all() {
                let long = if search.long { " (not with --short)" } else { "" };
                println!("{:<20} {}{long}", search.name, search.shows);
            }
            Ok(true)
        }
        Commands::Check { short, first, limit, save, names } => {
            let mut searches = match names.is_empty() {
                true => searches::all(),
                false => names.iter().map(|name| searches::find(name)).collect::<Result<_>>()?,
            };
            searches.retain(|search| !(short && search.long));
            let sum = check(&searches, first, limit, save)?;
            Ok(sum.violations == 0)
        }
        Commands::Walk { seed, walks, steps } => Ok(walk(seed, walks, steps)? == 0),
        Commands::Mutations { save, short, names } => {
            let (all, caught) = try_mutations(save, short, &names)?;
            Ok(all == caught)
        }
        Commands::Replay { bless, files } => replay(bless, &files),
        Commands::Bench => bench(),
    }
}

/// What several searches came to.
#[derive(Default)]
struct Sum {
    states: usize,
    violations: usize,
}

/// Runs searches, two at a time.
fn check(searches: &[Search], first: bool, limit: usize, save: Option<PathBuf>) -> Result<Sum> {
    let queue = Mutex::new(searches.iter());
    let sum = Mutex::new(Ok(Sum::default()));
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let next = || queue.lock().ok().and_then(|mut queue| queue.next());
                while let Some(search) = next() {
                    let progress = |at: usize, all: usize| {
                        if at > 0 {
                            eprintln!("{}: {at} of {all} states so far", search.name);
                        }
                    };
                    let found = search::run(search, limit, first, &progress);
                    let Ok(mut sum) = sum.lock() else { break };
                    if let Ok(sum) = sum.as_mut() {
                        sum.states += found.states;
                        sum.violations += found.violations.len();
                    }
                    if let Err(error) = tell(search, &found, save.as_ref()) {
                        *sum = Err(error);
                    }
                }
            });
        }
    });
    sum.into_inner().unwrap_or_else(|error| error.into_inner())
}

fn tell(search: &Search, found: &Found, save: Option<&PathBuf>) -> Result<()> {
    let Found { states, steps, locals, .. } = found;
    let seconds = found.time.as_secs_f64();
    let whole = if found.exhaustive { "all" } else { "NOT all" };
    println!(
        "{:<20} {whole} {states} states, {steps} steps, {locals} kinds of agents, {seconds:.1} s",
        search.name
    );
    for (number, violation) in found.violations.iter().enumerate() {
        println!("  VIOLATION {} ({} states)", violation.what, violation.states);
        for (label, _) in &violation.run {
            println!("    {label}");
        }
        if let Some(directory) = save {
            fs::create_dir_all(directory)?;
            let path = directory.join(format!("{}-{}.story", search.name, number + 1));
            fs::write(&path, story::replay(&story::input(search, search.name, violation))?)?;
            println!("  kept as {}", path.display());
        }
    }
    Ok(())
}

fn walk(seed: u64, walks: u64, steps: usize) -> Result<usize> {
    let search = searches::large();
    println!("walks through {}: {}, seeds {seed} to {}", search.name, search.shows, seed + walks - 1);
    let mut violations = 0;
    for seed in seed..seed + walks {
        let found = search::walk(&search, seed, steps);
        for violation in &found.violations {
            violations += 1;
            println!("  VIOLATION {} after {} steps, seed {seed}", violation.what, violation.run.len());
            for (label, _) in &violation.run {
                println!("    {label}");
            }
        }
    }
    println!("{walks} walks of {steps} steps, {violations} violations");
    Ok(violations)
}

fn try_mutations(save: Option<PathBuf>, short: bool, names: &[String]) -> Result<(usize, usize)> {
    let workshop = Workshop::new()?;
    let wanted = |name: &str| names.is_empty() || names.iter().any(|part| name.contains(part.as_str()));
    let (mut all, mut caught) = (0, 0);
    let chosen = |mutation: &&Mutation| wanted(&mutation.name) && !(short && mutation.long);
    for mutation in mutations::list()?.iter().filter(chosen) {
        all += 1;
        match workshop.try_out(mutation, save.as_deref())? {
            Some(promise) => {
                caught += 1;
                println!("caught      {:<50} {promise}", mutation.name);
            }
            None => println!("NOT CAUGHT  {}", mutation.name),
        }
    }
    println!("{all} mutations, {caught} caught");
    Ok((all, caught))
}

fn replay(bless: bool, files: &[PathBuf]) -> Result<bool> {
    let mut same = true;
    for file in files {
        let told = || file.display().to_string();
        let text = fs::read_to_string(file).with_context(told)?;
        let played = story::replay(&text).with_context(told)?;
        if bless {
            fs::write(file, &played).with_context(told)?;
        } else if played != text {
            same = false;
            println!("{} goes another way now:\n{played}", file.display());
        }
    }
    Ok(same)
}

fn bench() -> Result<bool> {
    let began = Instant::now();
    let sum = check(&searches::all(), false, usize::MAX, None)?;
    let seconds = began.elapsed().as_secs();
    let walked = walk(1, 100, 20_000)?;
    let (mutations, caught) = try_mutations(None, false, &[])?;
    let figures = serde_json::json!({
        "states": sum.states,
        "seconds": seconds,
        "violations": sum.violations + walked,
        "mutations": mutations,
        "mutations_caught": caught,
    });
    println!("{figures}");
    Ok(sum.violations + walked == 0 && mutations == caught)
}
