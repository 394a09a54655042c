//! An experiment as a table. In: CSV with a header, a row a customer: which arm, and the outcomes. Out: each arm beside the control in
//! each outcome. Fails with the line of a value that is none, and when the control or a column is not there. A row at a time: memory
//! is that of the arms, not of the rows.

use std::collections::HashMap;
use std::io::Read;

use csv::StringRecord;
use serde::Serialize;

use super::{Arm, Comparison, Outcome, Sample, SampleRatio};

/// More arms than anybody compares: then the column is another one, an id perhaps.
const ARMS_MAX: usize = 100;

/// What is asked of a table.
#[derive(Clone, Debug, PartialEq)]
pub struct Asked {
    /// The column that says which arm.
    pub arm: String,
    /// The arm that the others are compared with.
    pub control: String,
    /// The columns of the outcomes.
    pub outcomes: Vec<String>,
    /// The arms' shares; where none are given all should have the same.
    pub weights: Vec<(String, f64)>,
    /// At how many customers the intervals for any time are to be narrowest.
    pub narrowest_at: f64,
}

/// What a table comes to.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    /// The arm that the others are compared with.
    pub control: String,
    /// Whether the arms have the sizes that they should.
    pub sample_ratio: Option<SampleRatio>,
    /// By outcome, in the order asked.
    pub outcomes: Vec<OfOutcome>,
}

/// The arms in one outcome.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct OfOutcome {
    /// The column.
    pub outcome: String,
    /// A rate where all values are 0 or 1.
    pub kind: Outcome,
    /// The other arms, by name.
    pub arms: Vec<OfArm>,
}

/// An arm in one outcome.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct OfArm {
    /// Its name.
    pub arm: String,
    /// It beside the control.
    #[serde(flatten)]
    pub comparison: Comparison,
}

/// Why a table cannot be reported on.
#[derive(Debug, thiserror::Error)]
pub enum TableFault {
    /// It is no CSV.
    #[error("{0}")]
    Csv(#[from] csv::Error),
    /// There is no such column.
    #[error("there is no column `{name}`; there is {}", .found.join(", "))]
    NoColumn {
        /// What was asked for.
        name: String,
        /// What is there.
        found: Vec<String>,
    },
    /// There is no such arm.
    #[error("there is no arm `{name}` in column `{column}`; there is {}", .found.join(", "))]
    NoArm {
        /// What was asked for.
        name: String,
        /// The column of the arms.
        column: String,
        /// What is there.
        found: Vec<String>,
    },
    /// The weights do not name every arm.
    #[error("no weight is given for the arm `{0}`")]
    NoWeight(String),
    /// There are too many arms for a column of arms.
    #[error("column `{0}` has more than {ARMS_MAX} different values: is it the arm's?")]
    TooManyArms(String),
    /// A value is no number.
    #[error("line {line}: `{value}` in column `{column}` is no number; 0 and 1, or false and true, for a rate")]
    NoNumber {
        /// The line, from 1.
        line: u64,
        /// The column.
        column: String,
        /// What stands there.
        value: String,
    },
}

impl TableFault {
    /// Whether something else was to be asked, and not the table to be another.
    pub fn is_bad_use(&self) -> bool {
        !matches!(self, TableFault::Csv(_) | TableFault::NoNumber { .. })
    }
}

/// What was read of an outcome in one arm.
#[derive(Clone, Default)]
struct InArm {
    sample: Sample,
    ones: u64,
}

/// Reads a table and compares its arms.
pub fn report(table: impl Read, asked: &Asked) -> Result<Report, TableFault> {
    let mut rows = csv::ReaderBuilder::new().trim(csv::Trim::All).from_reader(table);
    let header = rows.headers()?.clone();
    let arm_column = column(&header, &asked.arm)?;
    let columns = asked.outcomes.iter().map(|name| column(&header, name)).collect::<Result<Vec<_>, _>>()?;
    let mut reading = Reading { asked, arms: HashMap::new(), are_binary: vec![true; columns.len()] };
    let mut row = StringRecord::new();
    while rows.read_record(&mut row)? {
        reading.take(&row, arm_column, &columns)?;
    }
    reading.report()
}

fn column(header: &StringRecord, name: &str) -> Result<usize, TableFault> {
    let found = || header.iter().map(str::to_owned).collect();
    let place = header.iter().position(|column| column == name);
    place.ok_or_else(|| TableFault::NoColumn { name: name.to_owned(), found: found() })
}

/// A table that is being read.
struct Reading<'a> {
    asked: &'a Asked,
    /// By arm, in the order of the outcomes.
    arms: HashMap<String, Vec<InArm>>,
    /// Which outcomes had nothing but 0 and 1 so far.
    are_binary: Vec<bool>,
}

impl Reading<'_> {
    fn take(&mut self, row: &StringRecord, arm_column: usize, columns: &[usize]) -> Result<(), TableFault> {
        let arm = row.get(arm_column).unwrap_or_default();
        if !self.arms.contains_key(arm) {
            if self.arms.len() >= ARMS_MAX {
                return Err(TableFault::TooManyArms(self.asked.arm.clone()));
            }
            self.arms.insert(arm.to_owned(), vec![InArm::default(); columns.len()]);
        }
        let Some(outcomes) = self.arms.get_mut(arm) else { return Ok(()) };
        for (place, column) in columns.iter().enumerate() {
            let text = row.get(*column).unwrap_or_default();
            let value = number(text).ok_or_else(|| TableFault::NoNumber {
                line: row.position().map_or(0, csv::Position::line),
                column: self.asked.outcomes[place].clone(),
                value: text.to_owned(),
            })?;
            self.are_binary[place] &= value == 0.0 || value == 1.0;
            outcomes[place].ones += u64::from(value == 1.0);
            outcomes[place].sample.add(value);
        }
        Ok(())
    }

    fn report(self) -> Result<Report, TableFault> {
        let Reading { asked, arms, are_binary } = self;
        let mut names: Vec<String> = arms.keys().cloned().collect();
        names.sort();
        if !arms.contains_key(&asked.control) {
            let (name, column) = (asked.control.clone(), asked.arm.clone());
            return Err(TableFault::NoArm { name, column, found: names });
        }
        let sizes = sizes(&names, &arms, asked)?;
        let outcomes = asked.outcomes.iter().enumerate().map(|(place, outcome)| {
            let kind = if are_binary[place] { Outcome::Rate } else { Outcome::Mean };
            let sample = |arm: &str| match (&arms[arm][place], kind) {
                (InArm { sample, ones }, Outcome::Rate) => Sample::of_rate(*ones, sample.n),
                (InArm { sample, .. }, Outcome::Mean) => *sample,
            };
            let control = sample(&asked.control);
            let others = names.iter().filter(|name| **name != asked.control);
            let of_arm = |arm: &String| OfArm {
                arm: arm.clone(),
                comparison: Comparison::of(kind, sample(arm), control, asked.narrowest_at),
            };
            OfOutcome { outcome: outcome.clone(), kind, arms: others.map(of_arm).collect() }
        });
        let outcomes = outcomes.collect();
        Ok(Report { control: asked.control.clone(), sample_ratio: SampleRatio::of(sizes), outcomes })
    }
}

/// The arms with their counts and weights; those that have a weight and nobody too.
fn sizes(names: &[String], arms: &HashMap<String, Vec<InArm>>, asked: &Asked) -> Result<Vec<Arm>, TableFault> {
    let n = |name: &str| arms.get(name).and_then(|outcomes| outcomes.first()).map_or(0, |read| read.sample.n);
    if asked.weights.is_empty() {
        return Ok(names.iter().map(|name| Arm { name: name.clone(), n: n(name), weight: 1.0 }).collect());
    }
    let is_weighed = |name: &&String| asked.weights.iter().any(|(weighed, _)| weighed == *name);
    if let Some(name) = names.iter().find(|name| !is_weighed(name)) {
        return Err(TableFault::NoWeight(name.clone()));
    }
    Ok(asked.weights.iter().map(|(name, weight)| Arm { name: name.clone(), n: n(name), weight: *weight }).collect())
}

/// A number, or a truth value.
fn number(text: &str) -> Option<f64> {
    match text {
        "true" | "True" | "TRUE" => Some(1.0),
        "false" | "False" | "FALSE" => Some(0.0),
        _ => text.parse().ok().filter(|value: &f64| value.is_finite()),
    }
}
