//! `twill history`: how an image was made.

use jiff::Timestamp;
use serde_json::json;

use crate::commands::Code;
use crate::image::{Image, Store};
use crate::listing::{FORMAT_HELP, Format, Listing};
use crate::template::Data;
use crate::{Paths, human, output};

const LISTING: Listing = Listing {
    headings: &[
        ("Comment", "COMMENT"),
        ("CreatedAt", "CREATED AT"),
        ("CreatedBy", "CREATED BY"),
        ("CreatedSince", "CREATED"),
        ("ID", "IMAGE"),
        ("Size", "SIZE"),
    ],
    columns: "{{.ID}}\t{{.CreatedSince}}\t{{.CreatedBy}}\t{{.Size}}\t{{.Comment}}",
};

/// Arguments.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "Fields: .ID .CreatedAt .CreatedSince .CreatedBy .Size .Comment")]
pub struct Args {
    /// Print ids only
    #[arg(short, long)]
    pub quiet: bool,
    /// Cut nothing short
    #[arg(long)]
    pub no_trunc: bool,
    /// Print sizes and ages as people read them
    #[arg(short = 'H', long, action = clap::ArgAction::Set, default_value_t = true, num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    pub human: bool,
    /// How to print
    #[arg(long, value_name = "FORMAT", default_value = "table", long_help = FORMAT_HELP)]
    pub format: Format,
    /// The image, by name or id
    pub image: String,
}

/// Does it.
pub fn run(args: &Args, paths: &Paths) -> anyhow::Result<Code> {
    let image = Store::open(paths)?.resolve(&args.image)?;
    let rows = rows(&image, args);
    if args.quiet {
        let ids = rows.iter().filter_map(|row| row.fields["ID"].as_str());
        ids.for_each(output::line);
        return Ok(Code::OK);
    }
    LISTING.print(&args.format, &rows)?;
    Ok(Code::OK)
}

/// The last step first; only it has an id, that of the image.
fn rows(image: &Image, args: &Args) -> Vec<Data> {
    let now = Timestamp::now();
    let mut sizes = image.layer_sizes.iter().copied();
    let history = image.config.history().clone().unwrap_or_default();
    let mut rows: Vec<Data> = Vec::new();
    for step in &history {
        let size = if step.empty_layer() == Some(true) { 0 } else { sizes.next().unwrap_or(0) };
        let created: Option<Timestamp> = step.created().as_ref().and_then(|text| text.parse().ok());
        let by = step.created_by().clone().unwrap_or_default().replace(['\t', '\n'], " ");
        let unknown = || "N/A".to_owned();
        let at = created.map_or_else(unknown, |created| created.to_string());
        let since = created.map_or_else(unknown, |created| human::ago(now, created));
        rows.push(
            json!({
                "Comment": step.comment().clone().unwrap_or_default(),
                "CreatedAt": at,
                "CreatedBy": if args.no_trunc { by } else { cut(&by) },
                "CreatedSince": if args.human { since } else { at.clone() },
                "ID": "<missing>",
                "Size": if args.human { human::size(size) } else { size.to_string() },
            })
            .into(),
        );
    }
    if let Some(last) = rows.last_mut() {
        let id = if args.no_trunc { image.id.to_string() } else { image.id.short() };
        last.fields["ID"] = json!(id);
    }
    rows.reverse();
    rows
}

fn cut(text: &str) -> String {
    const ROOM: usize = 45;
    if text.chars().count() <= ROOM {
        return text.to_owned();
    }
    text.chars().take(ROOM - 1).chain(['…']).collect()
}
