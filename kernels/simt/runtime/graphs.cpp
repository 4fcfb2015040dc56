// The entry points for graphs.
#include "simt/runtime/graphs.h"

#include <algorithm>
#include <cstring>
#include <map>

#include "simt/runtime/capture.h"
#include "simt/runtime/control.h"

using namespace simt::runtime;

struct CUgraphNode_st {
  Node node;
};

struct CUgraph_st {
  std::vector<CUgraphNode_st> nodes;
};

struct CUgraphExec_st {
  std::vector<Node> nodes;
  Mark last_launch;
};

namespace simt::runtime {
namespace {

template <class Object>
std::map<const Object*, std::unique_ptr<Object>>& registry() {
  static auto& all = *new std::map<const Object*, std::unique_ptr<Object>>;
  return all;
}

template <class Object>
Object* add(std::unique_ptr<Object> object) {
  Object* handle = object.get();
  registry<Object>()[handle] = std::move(object);
  return handle;
}

/// Runs the body with a graph that exists.
template <class Object, class Body>
cudaError_t graph_call(const char* name, unsigned traits, Object* graph, Body body) {
  return call(name, traits, [&]() -> cudaError_t {
    if (registry<Object>().contains(graph)) return body();
    return fault(cudaErrorInvalidValue, "invalid-graph",
                 std::string(name) + " of a graph that was destroyed or never created");
  });
}

cudaError_t instantiate(cudaGraphExec_t* result, cudaGraph_t graph) {
  if (result == nullptr) return cudaErrorInvalidValue;
  auto instance = std::make_unique<CUgraphExec_st>();
  for (const CUgraphNode_st& node : graph->nodes) instance->nodes.push_back(node.node);
  *result = add(std::move(instance));
  return cudaSuccess;
}

// The recorded order, or any other that the dependencies allow where the schedule is shuffled.
std::vector<std::size_t> launch_order(const std::vector<Node>& nodes) {
  std::vector<std::size_t> order;
  std::vector<bool> placed(nodes.size(), false);
  while (order.size() < nodes.size()) {
    std::vector<std::size_t> ready;
    for (std::size_t i = 0; i < nodes.size(); ++i) {
      const auto& after = nodes[i].after;
      if (!placed[i] && std::all_of(after.begin(), after.end(), [&](std::size_t n) { return placed[n]; })) {
        ready.push_back(i);
        if (control().schedule != Schedule::kShuffled) break;
      }
    }
    const std::size_t next = ready[ready.size() == 1 ? 0 : schedule_random() % ready.size()];
    placed[next] = true;
    order.push_back(next);
  }
  return order;
}

cudaError_t launch(CUgraphExec_st& instance, cudaStream_t handle) {
  const StreamPointer stream = find_stream(handle);
  if (stream == nullptr) return cudaErrorInvalidResourceHandle;
  if (stream->capture != nullptr) return invalidate(*stream->capture, cudaErrorStreamCaptureUnsupported);
  if (const cudaError_t error = check_implicit_capture(stream); error != cudaSuccess) return error;
  // Launches of one graph come one after the other, on whatever streams.
  enqueue_now(stream, std::make_shared<Work>(), {instance.last_launch});
  for (const std::size_t node : launch_order(instance.nodes)) enqueue_now(stream, instance.nodes[node].work);
  instance.last_launch = end_of(stream);
  return cudaSuccess;
}

template <class Object>
std::string list(const char* what) {
  const std::size_t count = registry<Object>().size();
  return count == 0 ? "" : std::to_string(count) + " " + what + "\n";
}

}  // namespace

std::size_t graph_count() { return registry<CUgraph_st>().size() + registry<CUgraphExec_st>().size(); }

std::string list_graphs() { return list<CUgraph_st>("graphs") + list<CUgraphExec_st>("graph instances"); }

}  // namespace simt::runtime

cudaError_t cudaStreamEndCapture(cudaStream_t handle, cudaGraph_t* graph) {
  return call(__func__, kPlain, [&] {
    if (graph == nullptr) return cudaErrorInvalidValue;
    *graph = nullptr;
    const StreamPointer stream = find_stream(handle);
    if (stream == nullptr) return cudaErrorInvalidResourceHandle;
    std::vector<Node> nodes;
    if (const cudaError_t error = end_capture(stream, &nodes); error != cudaSuccess) return error;
    auto captured = std::make_unique<CUgraph_st>();
    for (Node& node : nodes) captured->nodes.push_back({std::move(node)});
    *graph = add(std::move(captured));
    return cudaSuccess;
  });
}

cudaError_t cudaGraphInstantiate(cudaGraphExec_t* instance, cudaGraph_t graph, unsigned long long) {
  return graph_call(__func__, kPlain, graph, [&] { return instantiate(instance, graph); });
}

cudaError_t cudaGraphInstantiateWithFlags(cudaGraphExec_t* instance, cudaGraph_t graph, unsigned long long) {
  return graph_call(__func__, kPlain, graph, [&] { return instantiate(instance, graph); });
}

cudaError_t cudaGraphLaunch(cudaGraphExec_t instance, cudaStream_t stream) {
  return graph_call(__func__, kPlain, instance, [&] { return launch(*instance, stream); });
}

cudaError_t cudaGraphUpload(cudaGraphExec_t instance, cudaStream_t stream) {
  return graph_call(__func__, kPlain, instance, [&] {
    return find_stream(stream) != nullptr ? cudaSuccess : cudaErrorInvalidResourceHandle;
  });
}

cudaError_t cudaGraphGetNodes(cudaGraph_t graph, cudaGraphNode_t* nodes, std::size_t* count) {
  return graph_call(__func__, kPlain, graph, [&] {
    if (count == nullptr) return cudaErrorInvalidValue;
    if (nodes != nullptr) {
      *count = std::min(*count, graph->nodes.size());
      for (std::size_t i = 0; i < *count; ++i) nodes[i] = &graph->nodes[i];
    } else {
      *count = graph->nodes.size();
    }
    return cudaSuccess;
  });
}

cudaError_t cudaGraphNodeGetType(cudaGraphNode_t node, cudaGraphNodeType* type) {
  return call(__func__, kPlain, [&] {
    if (node == nullptr || type == nullptr) return cudaErrorInvalidValue;
    *type = node->node.work->type;
    return cudaSuccess;
  });
}

cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
  return graph_call(__func__, kRelease, graph, [&] {
    registry<CUgraph_st>().erase(graph);
    return cudaSuccess;
  });
}

cudaError_t cudaGraphExecDestroy(cudaGraphExec_t instance) {
  return graph_call(__func__, kRelease, instance, [&] {
    registry<CUgraphExec_st>().erase(instance);
    return cudaSuccess;
  });
}
