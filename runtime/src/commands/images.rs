//! `twill images`: what is in the store.

use jiff::Timestamp;
use serde_json::json;

use crate::commands::Code;
use crate::image::{Image, Reference, Store};
use crate::table::Table;
use crate::{Paths, human, output};

const NONE: &str = "<none>";

/// Arguments.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Show all images; there are no hidden ones, so this changes nothing
    #[arg(short, long)]
    pub all: bool,
    /// Print the ids only
    #[arg(short, long)]
    pub quiet: bool,
    /// Print ids in full
    #[arg(long)]
    pub no_trunc: bool,
    /// How to print
    #[arg(long, value_enum, default_value = "table")]
    pub format: Format,
    /// Only images of this name; without a tag, of any tag
    #[arg(value_name = "NAME[:TAG]")]
    pub name: Option<String>,
}

/// How to print.
#[derive(Clone, Copy, Debug, Eq, PartialEq, clap::ValueEnum)]
pub enum Format {
    /// Columns for people
    Table,
    /// One JSON object a line, with Docker's keys
    Json,
}

/// Does it.
pub fn run(args: &Args, paths: &Paths) -> anyhow::Result<Code> {
    let wanted = args.name.as_deref().map(Wanted::parse).transpose()?;
    let images = Store::open(paths)?.list()?;
    let mut rows: Vec<Row<'_>> = images.iter().flat_map(rows).collect();
    rows.retain(|row| wanted.as_ref().is_none_or(|wanted| wanted.fits(row)));
    if args.quiet {
        let mut ids: Vec<String> = rows.iter().map(|row| row.id(args.no_trunc)).collect();
        ids.dedup();
        ids.iter().for_each(output::line);
    } else if args.format == Format::Json {
        rows.iter().map(|row| row.json(args.no_trunc)).for_each(output::line);
    } else {
        let mut table = Table::new(&["REPOSITORY", "TAG", "IMAGE ID", "CREATED", "SIZE"]);
        for row in &rows {
            table.push(row.cells(args.no_trunc));
        }
        table.lines().for_each(output::line);
    }
    Ok(Code::OK)
}

/// One name of an image, or an image without names.
struct Row<'a> {
    image: &'a Image,
    name: Option<&'a Reference>,
}

fn rows(image: &Image) -> Vec<Row<'_>> {
    if image.names.is_empty() {
        return vec![Row { image, name: None }];
    }
    image.names.iter().map(|name| Row { image, name: Some(name) }).collect()
}

impl Row<'_> {
    fn repository(&self) -> &str {
        self.name.map_or(NONE, Reference::repository)
    }

    fn tag(&self) -> &str {
        self.name.and_then(Reference::tag).unwrap_or(NONE)
    }

    fn id(&self, whole: bool) -> String {
        if whole { self.image.id.to_string() } else { self.image.id.short() }
    }

    fn created_since(&self) -> String {
        let Some(created) = self.image.created else { return "N/A".to_owned() };
        let age = Timestamp::now().duration_since(created);
        // A clock that went back, or an image from a faster one.
        let age = std::time::Duration::try_from(age).unwrap_or_default();
        format!("{} ago", human::duration(age))
    }

    fn cells(&self, whole: bool) -> Vec<String> {
        vec![
            self.repository().to_owned(),
            self.tag().to_owned(),
            self.id(whole),
            self.created_since(),
            human::size(self.image.size),
        ]
    }

    fn json(&self, whole: bool) -> serde_json::Value {
        json!({
            "CreatedAt": self.image.created.map(|created| created.to_string()),
            "CreatedSince": self.created_since(),
            "ID": self.id(whole),
            "Repository": self.repository(),
            "Size": human::size(self.image.size),
            "Tag": self.tag(),
        })
    }
}

/// What the user asks for.
struct Wanted {
    name: Reference,
    any_tag: bool,
}

impl Wanted {
    fn parse(text: &str) -> anyhow::Result<Self> {
        let name: Reference = text
            .parse()
            .map_err(|source| crate::image::Error::Name { text: text.to_owned(), source })?;
        // A colon before the last slash belongs to a registry's port.
        let any_tag = !text.rsplit('/').next().is_some_and(|last| last.contains(':'));
        Ok(Self { name, any_tag })
    }

    fn fits(&self, row: &Row<'_>) -> bool {
        row.repository() == self.name.repository()
            && (self.any_tag || Some(row.tag()) == self.name.tag())
    }
}
