//! Whose a number is: on a host in several networks each has the network's name beside it.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use prometheus_client::encoding::{EncodeLabelSet, EncodeMetric, LabelSetEncoder, MetricEncoder};
use prometheus_client::metrics::{MetricType, TypedMetric};
use twill_core::ids::NetworkName;

/// Names and values, at least one of them. Names of networks are the administrator's.
#[derive(Clone, Debug, Default, Eq, Hash, PartialEq)]
pub(super) struct Labels(Vec<(&'static str, Cow<'static, str>)>);

impl Labels {
    /// Nothing yet of a network without a name.
    pub(super) fn of(network: Option<&NetworkName>) -> Self {
        let name = |network: &NetworkName| ("network", Cow::Owned(network.to_string()));
        Self(network.map(name).into_iter().collect())
    }

    pub(super) fn and(mut self, name: &'static str, value: impl Into<Cow<'static, str>>) -> Self {
        self.0.push((name, value.into()));
        self
    }
}

impl EncodeLabelSet for Labels {
    fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> fmt::Result {
        self.0.as_slice().encode(encoder)
    }
}

/// A metric of each network that has no other label.
#[derive(Debug)]
pub(super) struct Each<M>(Arc<Mutex<BTreeMap<Option<NetworkName>, M>>>);

impl<M: Clone> Each<M> {
    /// The one of that network from now on.
    pub(super) fn add(&self, network: Option<&NetworkName>, metric: M) -> M {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.insert(network.cloned(), metric.clone());
        metric
    }

    /// That network has none any more.
    pub(super) fn remove(&self, network: &NetworkName) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.remove(&Some(network.clone()));
    }
}

impl<M> Clone for Each<M> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<M> Default for Each<M> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<M: EncodeMetric + TypedMetric> EncodeMetric for Each<M> {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // A network without a name is alone on its host.
        if let Some(alone) = all.get(&None) {
            return alone.encode(encoder);
        }
        for (network, metric) in &*all {
            metric.encode(encoder.encode_family(&Labels::of(network.as_ref()))?)?;
        }
        Ok(())
    }

    fn metric_type(&self) -> MetricType {
        M::TYPE
    }
}
