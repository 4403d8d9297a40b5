//! `twill system df`: what takes how much of the disk, and how much of it nobody uses.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::commands::Code;
use crate::container::{Container, Store, reap, size};
use crate::error::FileContext as _;
use crate::image::{self, Image};
use crate::listing::containers::{Size, Style};
use crate::listing::{FORMAT_HELP, Format, Listing, containers, images};
use crate::template::Data;
use crate::volume::Volumes;
use crate::{Paths, human, output};

/// Arguments.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "Examples:
  twill system df
  twill system df -v                              each image, container and volume
  twill system df --format '{{.Type}} {{.Size}}'
  twill system df -v --format '{{range .Images}}{{println .ID .UniqueSize}}{{end}}'

Fields: .Type .TotalCount .Active .Size .Reclaimable; with -v: .Images .Containers .Volumes .BuildCache")]
pub struct Args {
    /// Show each image, container and volume
    #[arg(short, long)]
    pub verbose: bool,
    /// How to print
    #[arg(long, value_name = "FORMAT", default_value = "table", long_help = FORMAT_HELP)]
    pub format: Format,
}

const SUMMARY: Listing = Listing {
    headings: &[
        ("Active", "ACTIVE"),
        ("Reclaimable", "RECLAIMABLE"),
        ("Size", "SIZE"),
        ("TotalCount", "TOTAL"),
        ("Type", "TYPE"),
    ],
    columns: "{{.Type}}\t{{.TotalCount}}\t{{.Active}}\t{{.Size}}\t{{.Reclaimable}}",
};

const IMAGES: Listing = Listing {
    columns: "{{.Repository}}\t{{.Tag}}\t{{.ID}}\t{{.CreatedSince}}\t{{.Size}}\t{{.SharedSize}}\t{{.UniqueSize}}\t{{.Containers}}",
    ..images::LISTING
};

const CONTAINERS: Listing = Listing {
    columns: "{{.ID}}\t{{.Image}}\t{{.Command}}\t{{.LocalVolumes}}\t{{.Size}}\t{{.RunningFor}}\t{{.Status}}\t{{.Names}}",
    ..containers::LISTING
};

const VOLUMES: Listing = Listing {
    headings: &[("Links", "LINKS"), ("Name", "VOLUME NAME"), ("Size", "SIZE")],
    columns: "{{.Name}}\t{{.Links}}\t{{.Size}}",
};

/// Of what nothing is ever there: images are not built here.
const BUILD_CACHE: Listing = Listing {
    headings: &[
        ("CacheType", "CACHE TYPE"),
        ("CreatedSince", "CREATED"),
        ("ID", "CACHE ID"),
        ("LastUsedSince", "LAST USED"),
        ("Shared", "SHARED"),
        ("Size", "SIZE"),
        ("UsageCount", "USAGE"),
    ],
    columns: "{{.ID}}\t{{.CacheType}}\t{{.Size}}\t{{.CreatedSince}}\t{{.LastUsedSince}}\t{{.UsageCount}}\t{{.Shared}}",
};

/// Does it.
pub fn run(args: &Args, paths: &Paths) -> anyhow::Result<Code> {
    let usage = Usage::measure(paths)?;
    if !args.verbose {
        SUMMARY.print(&args.format, &usage.summary())?;
        return Ok(Code::OK);
    }
    let now = Timestamp::now();
    let tables = [
        (IMAGES, "Images", "Images space usage:", usage.image_rows(now)),
        (CONTAINERS, "Containers", "Containers space usage:", usage.container_rows(now)),
        (VOLUMES, "Volumes", "Local Volumes space usage:", usage.volume_rows()),
        (BUILD_CACHE, "BuildCache", "Build cache usage: 0B", Vec::new()),
    ];
    if let Format::Table = args.format {
        for (index, (listing, _, title, rows)) in tables.iter().enumerate() {
            output::line(format_args!("{}{title}\n", if index == 0 { "" } else { "\n" }));
            listing.print(&args.format, rows)?;
        }
        return Ok(Code::OK);
    }
    let all = tables.into_iter().map(|(_, name, _, rows)| {
        let rows: Vec<Value> = rows.into_iter().map(|row| row.fields).collect();
        (name.to_owned(), Value::Array(rows))
    });
    SUMMARY.print(&args.format, &[Value::Object(all.collect()).into()])?;
    Ok(Code::OK)
}

/// All that is there, and what it takes.
struct Usage {
    images: Vec<Image>,
    /// Every layer once, and its bytes.
    layers: BTreeMap<PathBuf, u64>,
    /// What each has written.
    containers: Vec<(Container, u64)>,
    /// The name of each, how many containers have it, and its bytes.
    volumes: Vec<(String, usize, u64)>,
}

impl Usage {
    fn measure(paths: &Paths) -> anyhow::Result<Self> {
        let store = image::Store::open(paths)?;
        let mut containers = Vec::new();
        for container in reap::settle_all(&Store::new(paths))? {
            let upper = paths.container(&container.record.id).join("upper");
            let bytes = size::below(&upper).file("look through", &upper)?;
            containers.push((container, bytes));
        }
        let places = Volumes::new(paths);
        let users = places.users()?;
        let mut volumes = Vec::new();
        for volume in places.list()? {
            let data = places.data(&volume.name);
            let bytes = size::below(&data).file("look through", &data)?;
            volumes.push((volume.name.clone(), users.get(&volume.name).map_or(0, Vec::len), bytes));
        }
        Ok(Self { images: store.list()?, layers: store.usage()?, containers, volumes })
    }

    fn summary(&self) -> [Data; 4] {
        let mut containers = Sum::default();
        for (container, bytes) in &self.containers {
            containers.add(container.state.status.is_alive(), *bytes);
        }
        let mut volumes = Sum::default();
        for (_, links, bytes) in &self.volumes {
            volumes.add(*links > 0, *bytes);
        }
        [
            self.sum_of_images().row("Images"),
            containers.row("Containers"),
            volumes.row("Local Volumes"),
            Sum::default().row("Build Cache"),
        ]
    }

    /// A layer that several images have is there once; one of no image, which a load left that was killed,
    /// is there as well.
    fn sum_of_images(&self) -> Sum {
        let mut kept = BTreeSet::new();
        let mut sum = Sum { total: self.images.len(), ..Sum::default() };
        for image in self.images.iter().filter(|image| self.users_of(image) > 0) {
            sum.active += 1;
            kept.extend(&image.layers);
        }
        for (layer, bytes) in &self.layers {
            let free = if kept.contains(layer) { 0 } else { *bytes };
            sum.size = sum.size.saturating_add(*bytes);
            sum.reclaimable = sum.reclaimable.saturating_add(free);
        }
        sum
    }

    fn users_of(&self, image: &Image) -> usize {
        let id = image.id.to_string();
        self.containers.iter().filter(|(it, _)| it.record.image.id == id).count()
    }

    fn image_rows(&self, now: Timestamp) -> Vec<Data> {
        let mut owners: BTreeMap<&PathBuf, usize> = BTreeMap::new();
        for image in &self.images {
            for layer in image.layers.iter().collect::<BTreeSet<_>>() {
                *owners.entry(layer).or_default() += 1;
            }
        }
        let row = |image: &Image| {
            let layers = image.layers.iter().zip(&image.layer_sizes);
            let shared = layers.filter(|(layer, _)| owners[layer] > 1);
            let shared = shared.map(|(_, bytes)| *bytes).fold(0, u64::saturating_add);
            let mut data = images::Row { image, name: image.names.first() }.data(now, false);
            data.fields["Containers"] = json!(self.users_of(image).to_string());
            data.fields["SharedSize"] = json!(human::size(shared));
            data.fields["UniqueSize"] = json!(human::size(image.size - shared));
            data
        };
        self.images.iter().map(row).collect()
    }

    fn container_rows(&self, now: Timestamp) -> Vec<Data> {
        let style = Style { now, whole: false };
        let row = |(container, bytes): &(Container, u64)| {
            let mut data = containers::row(container, Size::default(), style);
            // Its image has a row of its own.
            data.fields["Size"] = json!(human::size(*bytes));
            data
        };
        self.containers.iter().map(row).collect()
    }

    fn volume_rows(&self) -> Vec<Data> {
        let row = |(name, links, bytes): &(String, usize, u64)| {
            json!({"Name": name, "Links": links.to_string(), "Size": human::size(*bytes)}).into()
        };
        self.volumes.iter().map(row).collect()
    }
}

/// How much of one kind there is.
#[derive(Default)]
struct Sum {
    total: usize,
    active: usize,
    size: u64,
    reclaimable: u64,
}

impl Sum {
    fn add(&mut self, active: bool, bytes: u64) {
        self.total += 1;
        self.active += usize::from(active);
        self.size = self.size.saturating_add(bytes);
        self.reclaimable = self.reclaimable.saturating_add(if active { 0 } else { bytes });
    }

    fn row(&self, kind: &str) -> Data {
        // 128 bits: a layer may say any number.
        let percent = (u128::from(self.reclaimable) * 100).checked_div(self.size.into());
        let percent = percent.map_or_else(String::new, |percent| format!(" ({percent}%)"));
        json!({
            "Type": kind,
            "TotalCount": self.total.to_string(),
            "Active": self.active.to_string(),
            "Size": human::size(self.size),
            "Reclaimable": format!("{}{percent}", human::size(self.reclaimable)),
        })
        .into()
    }
}
