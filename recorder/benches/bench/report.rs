//! The results of a section, as a table for people and as JSON for programs. Both use the same
//! names, with the unit in them.

use std::fs;

use anyhow::{Context, Result};
use serde_json::{Map, Value, json};

use crate::setup::Setup;

/// The rows of a section.
#[derive(Debug, Default)]
pub(crate) struct Report {
    title: String,
    rows: Vec<Row>,
    notes: Vec<String>,
    /// Reasons for the run to fail: bytes that were lost or wrong.
    pub(crate) failures: Vec<String>,
}

/// A line of a table.
#[derive(Debug)]
pub(crate) struct Row {
    /// The measured case, by the values that distinguish it from other rows.
    case: Vec<(&'static str, String)>,
    cells: Vec<(&'static str, f64, usize)>,
}

impl Row {
    pub(crate) fn new<const N: usize>(case: [(&'static str, &str); N]) -> Self {
        let case = case.map(|(name, value)| (name, value.to_owned())).into();
        Self { case, cells: Vec::new() }
    }

    /// Adds a figure with its name and the decimal places to show.
    pub(crate) fn with(mut self, name: &'static str, value: f64, decimals: usize) -> Self {
        self.cells.push((name, value, decimals));
        self
    }

    fn case_text(&self, name: &str) -> String {
        let case = self.case.iter().find(|case| case.0 == name);
        case.map(|case| case.1.clone()).unwrap_or_default()
    }

    fn text(&self, name: &str) -> String {
        let cell = self.cells.iter().find(|cell| cell.0 == name);
        cell.map_or_else(String::new, |(_, value, decimals)| format!("{value:.decimals$}"))
    }

    fn json(&self) -> Value {
        let mut object = Map::new();
        for (name, value) in &self.case {
            object.insert((*name).into(), json!(value));
        }
        for (name, value, _) in &self.cells {
            object.insert((*name).into(), json!(value));
        }
        object.into()
    }
}

impl Report {
    pub(crate) fn new(title: impl Into<String>) -> Self {
        Self { title: title.into(), ..Self::default() }
    }

    pub(crate) fn row(&mut self, row: Row) {
        self.rows.push(row);
    }

    pub(crate) fn note(&mut self, note: impl Into<String>) {
        self.notes.push(note.into());
    }

    pub(crate) fn print(&self) {
        println!("\n{}", self.title);
        let cases: Vec<&str> =
            self.rows.first().map_or(&[][..], |row| &row.case).iter().map(|case| case.0).collect();
        let names = self.column_names();
        let widths = |names: &[&str], of: fn(&Row, &str) -> String| -> Vec<usize> {
            let width = |name: &&str| {
                let rows = self.rows.iter().map(|row| of(row, name).chars().count());
                rows.max().unwrap_or(0).max(name.len())
            };
            names.iter().map(width).collect()
        };
        let (case_widths, cell_widths) =
            (widths(&cases, Row::case_text), widths(&names, Row::text));
        let line = |case: &dyn Fn(&str) -> String, cell: &dyn Fn(&str) -> String| {
            let mut line = String::new();
            for (name, width) in cases.iter().zip(&case_widths) {
                line += &format!("  {:width$}", case(name));
            }
            for (name, width) in names.iter().zip(&cell_widths) {
                line += &format!("  {:>width$}", cell(name));
            }
            println!("{}", line.trim_end());
        };
        line(&str::to_owned, &str::to_owned);
        for row in &self.rows {
            line(&|name| row.case_text(name), &|name| row.text(name));
        }
        self.notes.iter().for_each(|note| println!("  {note}"));
        self.failures.iter().for_each(|failure| println!("  FAILED: {failure}"));
    }

    /// Returns the names in the order in which they were first used.
    fn column_names(&self) -> Vec<&'static str> {
        let mut names = Vec::new();
        for (name, ..) in self.rows.iter().flat_map(|row| &row.cells) {
            if !names.contains(name) {
                names.push(*name);
            }
        }
        names
    }

    pub(crate) fn write_json(&self, setup: &Setup, section: &str) -> Result<()> {
        let object = json!({
            "section": section,
            "title": self.title,
            "quick": setup.quick,
            "machine": setup.machine.json(),
            "rows": self.rows.iter().map(Row::json).collect::<Vec<_>>(),
            "notes": self.notes,
            "failures": self.failures,
        });
        let folder = &setup.results;
        let path = folder.join(format!("{section}.json"));
        fs::create_dir_all(folder)
            .and_then(|()| fs::write(&path, format!("{object:#}\n")))
            .with_context(|| format!("cannot write {}", path.display()))
    }
}
