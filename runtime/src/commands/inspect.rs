//! `twill inspect`: all that is known, in Docker's field names.

use serde_json::{Value, json};

use crate::cgroup::Hierarchies;
use crate::commands::{Code, each};
use crate::container::{Store, size};
use crate::template::{Data, Template};
use crate::{Error, Paths, image, inspect, output};

/// Arguments.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "Examples:
  twill inspect web
  twill inspect -f '{{.State.Pid}} {{.NetworkSettings.IPAddress}}' web
  twill inspect -f '{{range .Config.Env}}{{println .}}{{end}}' web
  twill inspect -f '{{json .HostConfig}}' web
  twill inspect -f '{{index .Config.Labels \"tier\"}}' --type container web

The template is Go's: fields, variables, pipelines, if, range, with, and the functions and, or, not, eq,
ne, lt, le, gt, ge, len, index, slice, print, printf, println, json, join, split, lower, upper, title, pad,
truncate.")]
pub struct Args {
    /// What is printed of each: a Go template, or `json` for one line
    #[arg(short, long, value_name = "TEMPLATE")]
    pub format: Option<String>,
    /// Only things of this kind
    #[arg(long, value_enum)]
    pub r#type: Option<Kind>,
    /// Say how much containers have written
    #[arg(short, long)]
    pub size: bool,
    /// Names, ids or starts of ids
    #[arg(required = true)]
    pub names: Vec<String>,
}

/// What can be looked at.
#[derive(Clone, Copy, Debug, Eq, PartialEq, clap::ValueEnum)]
pub enum Kind {
    /// Containers.
    Container,
    /// Images.
    Image,
}

/// Docker's code for a template that cannot be understood.
const BAD_TEMPLATE: u8 = 64;

/// Does it. Those that were found are shown even if another was not.
pub fn run(args: &Args, paths: &Paths) -> anyhow::Result<Code> {
    let template = args.format.as_deref().map(Template::of_format).transpose();
    let template = match template {
        Ok(template) => template,
        Err(error) => {
            output::note(format_args!("twill: {error}"));
            return Ok(Code(BAD_TEMPLATE));
        }
    };
    let (mut found, mut code) = (Vec::new(), Code::OK);
    for name in &args.names {
        if let Some(one) = look(args, paths, name)? {
            found.push(one);
        } else {
            let what = args.r#type.map_or("object", Kind::as_str);
            output::note(format_args!("twill: No such {what}: {name}"));
            code = Code(1);
        }
    }
    let Some(template) = template else {
        output::pretty(&Value::Array(found));
        return Ok(code);
    };
    for one in found {
        output::line(template.render(&Data::from(one))?);
    }
    Ok(code)
}

impl Kind {
    fn as_str(self) -> &'static str {
        match self {
            Self::Container => "container",
            Self::Image => "image",
        }
    }
}

fn look(args: &Args, paths: &Paths, name: &str) -> anyhow::Result<Option<Value>> {
    if args.r#type != Some(Kind::Image) {
        match each::one(&Store::new(paths), name) {
            Ok(container) => {
                let mut shown = inspect::container(paths, &container, &Hierarchies::here()?);
                if args.size {
                    let size = size::of(paths, &container.record)?;
                    shown["SizeRw"] = json!(size.own);
                    shown["SizeRootFs"] = json!(size.own + size.image);
                }
                return Ok(Some(shown));
            }
            Err(Error::NoSuchContainer(_)) => {}
            Err(error) => return Err(error.into()),
        }
    }
    if args.r#type == Some(Kind::Container) {
        return Ok(None);
    }
    let images = image::Store::open(paths)?;
    let found = images.resolve(name).and_then(|image| {
        let whole = images.configuration(&image.id)?;
        Ok((image, whole))
    });
    match found {
        Ok((image, whole)) => {
            let whole: Value = serde_json::from_slice(&whole)?;
            Ok(Some(inspect::image(&image, &whole)))
        }
        Err(image::Error::Unknown { .. } | image::Error::Name { .. }) => Ok(None),
        Err(error) => Err(error.into()),
    }
}
