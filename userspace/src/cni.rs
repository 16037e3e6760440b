//! The chained CNI plugin (Container Network Interface specification 1.0 and 1.1): the runtime calls it for every pod, it asks
//! the node's agent over a Unix socket, and returns only when the pod is captured.
