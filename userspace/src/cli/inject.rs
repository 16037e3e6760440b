//! `sidestep inject`: manifests with the sidecar in them, without a cluster.

use std::path::PathBuf;

use clap::Args;

const EXAMPLES: &str = "\
Examples:
  sidestep inject -f shop.yaml | kubectl apply -f -
  helm template shop/ | sidestep inject --namespace shop --config inject.yaml -f -

A pod keeps out with the annotation or label sidestep.io/inject: \"false\". Exits with 1 if a pod cannot have the sidecar.";

/// Arguments of `sidestep inject`.
#[derive(Args, Clone, Debug)]
#[command(after_long_help = EXAMPLES)]
pub struct InjectArgs {
    /// Manifests, YAML or JSON, of one object or many; `-` is standard input
    #[arg(short = 'f', long = "file", value_name = "FILE", required = true)]
    pub files: Vec<PathBuf>,

    /// What the sidecar is like: image, resources, identity, and its own configuration
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,

    /// The namespace of objects that name none
    #[arg(long, short = 'n', value_name = "NAME", default_value = "default")]
    pub namespace: String,

    /// The image that holds sidestep, instead of the configured one
    #[arg(long, value_name = "IMAGE")]
    pub image: Option<String>,
}
