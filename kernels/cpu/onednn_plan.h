// oneDNN's primitives, made once for each set of shapes and then called with nothing but addresses.
#pragma once

#if defined(REPRISE_ONEDNN)

#include <omp.h>

#include <cstddef>
#include <initializer_list>
#include <new>
#include <oneapi/dnnl/dnnl.hpp>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "exact_teams.h"
#include "parallel.h"
#include "reprise/error.h"
#include "reprise/kernels/dtype.h"
#include "reprise/thread_lasting.h"

namespace reprise::kernels::cpu::onednn {

/// The first call switches off oneDNN's own cache of primitives, for the process: plans are kept here. Once
/// that cache was full, or making a primitive had run out of memory, later ones failed (a promise that nobody
/// keeps), crashed or never ended with oneDNN 2.6.
inline const dnnl::engine& cpu_engine() {
  static const auto& engine = *[] {  // never destroyed: see ThreadLasting
    dnnl::set_primitive_cache_capacity(0);
    return new dnnl::engine(dnnl::engine::kind::cpu, 0);
  }();
  return engine;
}

inline dnnl::memory::data_type data_type_of(DType dtype) {
  return dtype == DType::bfloat16 ? dnnl::memory::data_type::bf16 : dnnl::memory::data_type::f32;
}

/// Scratch from the caller instead of the heap.
inline dnnl::primitive_attr user_scratch() {
  dnnl::primitive_attr attributes;
  attributes.set_scratchpad_mode(dnnl::scratchpad_mode::user);
  return attributes;
}

/// Throws std::bad_alloc for an error that says so: that oneDNN lacks memory does not mean that it lacks an
/// operation.
inline void rethrow_out_of_memory(const dnnl::error& error) {
  if (error.status == dnnl_out_of_memory) throw std::bad_alloc();
}

template <class Primitive, class PrimitiveDescriptor>
Primitive make_primitive(const PrimitiveDescriptor& descriptor) {
  try {
    return Primitive(descriptor);
  } catch (const dnnl::error& error) {
    rethrow_out_of_memory(error);
    throw Error(std::string("[oneDNN] a primitive cannot be made: ") + error.what());
  }
}

/// True when oneDNN has this operation, by another way than its reference loops.
template <class PrimitiveDescriptor>
bool is_fast(const PrimitiveDescriptor& descriptor) {
  return descriptor.get(true) != nullptr &&
         std::string_view(descriptor.impl_info_str()).find("ref") == std::string_view::npos;
}

/// The threads that a call with this many multiplications uses: one where starting more costs more than it
/// saves.
inline int threads_for(double multiplications) {
  constexpr double kSerialMultiplications = 50'000;
  return multiplications < kSerialMultiplications ? 1 : num_threads();
}

/// Makes oneDNN use this number of threads, at most `num_threads()`, as long as it lives. oneDNN asks OpenMP
/// for them and cuts its work for as many without looking at how many came: with fewer, parts stay undone or
/// wait for ever.
class ThreadScope {
 public:
  explicit ThreadScope(int threads) : before_(omp_get_max_threads()), changed_(before_ != threads) {
    if (changed_) omp_set_num_threads(threads);
  }
  ThreadScope(const ThreadScope&) = delete;
  ThreadScope& operator=(const ThreadScope&) = delete;
  ~ThreadScope() {
    if (changed_) omp_set_num_threads(before_);
  }

 private:
  ExactTeams exact_;
  int before_;
  bool changed_;
};

/// A primitive and the memory objects of its arguments. It belongs to one thread, as the addresses are set at
/// every call.
class Call {
 public:
  Call() = default;

  explicit Call(dnnl::primitive primitive,
                std::initializer_list<std::pair<int, dnnl::memory::desc>> arguments)
      : primitive_(std::move(primitive)) {
    for (const auto& [name, desc] : arguments) {
      if (desc.get_size() == 0) continue;
      memories_.push_back(dnnl::memory(desc, cpu_engine(), DNNL_MEMORY_NONE));
      arguments_.push_back({name, memories_.back().get()});
    }
  }

  explicit operator bool() const { return static_cast<bool>(primitive_); }

  /// Addresses by the arguments' names; those of absent arguments (a bias) are left out.
  void operator()(std::initializer_list<std::pair<int, const void*>> addresses) const {
    struct Stream : dnnl::stream {
      Stream() : dnnl::stream(cpu_engine()) {}
    };
    const dnnl::stream& stream = ThreadLasting<Stream>::get();
    for (std::size_t i = 0; i < arguments_.size(); ++i) {
      for (const auto& [name, address] : addresses) {
        if (name == arguments_[i].arg) memories_[i].set_data_handle(const_cast<void*>(address));
      }
    }
    dnnl::error::wrap_c_api(dnnl_primitive_execute(primitive_.get(), stream.get(),
                                                   static_cast<int>(arguments_.size()), arguments_.data()),
                            "oneDNN could not run a primitive");
  }

 private:
  dnnl::primitive primitive_;
  std::vector<dnnl::memory> memories_;
  std::vector<dnnl_exec_arg_t> arguments_;
};

/// Combines numbers into a hash.
class Hash {
 public:
  Hash& operator<<(std::int64_t value) {
    state_ = (state_ ^ static_cast<std::uint64_t>(value)) * 0x9E3779B97F4A7C15u;
    state_ ^= state_ >> 29;
    return *this;
  }
  std::size_t value() const { return state_; }

 private:
  std::uint64_t state_ = 0x243F6A8885A308D3u;
};

/// Plans by key, for one thread. Keys have `hash()` and ==.
template <class Key, class Plan>
class PlanCache {
 public:
  /// The plan of this key, made from it if new; valid until the next call.
  Plan& operator[](const Key& key) {
    if (const auto found = plans_.find(key); found != plans_.end()) return found->second;
    // Generated code is some ten KiB a plan: shapes that never return must not fill the memory.
    if (plans_.size() >= kCapacity) plans_.clear();
    return plans_.try_emplace(key, key).first->second;
  }

 private:
  static constexpr std::size_t kCapacity = 1024;
  struct KeyHash {
    std::size_t operator()(const Key& key) const { return key.hash(); }
  };
  std::unordered_map<Key, Plan, KeyHash> plans_;
};

}  // namespace reprise::kernels::cpu::onednn

#endif
