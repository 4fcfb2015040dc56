#include <algorithm>
#include <type_traits>
#include <utility>

#include "file.h"
#include "reprise/error.h"
#include "reprise/nn/data.h"
#include "stream.h"

namespace reprise::nn {

namespace {

namespace fs = std::filesystem;

std::string quoted_byte(unsigned char byte) {
  if (byte >= 0x20 && byte < 0x7F) return std::string("'") + static_cast<char>(byte) + "'";
  return data::hexadecimal(byte, 2);
}

std::string_view name_of(Split split) { return split == Split::train ? "training" : "validation"; }

void check_room(std::string_view operation, std::int64_t batch, std::int64_t seq, std::size_t inputs,
                std::size_t targets) {
  const auto name = "[" + std::string(operation) + "] ";
  if (batch < 0 || seq < 1) {
    throw ValueError(name + "batch " + std::to_string(batch) + " and length " + std::to_string(seq) +
                     " are not usable; give a batch of at least 0 and a length of at least 1");
  }
  // Division, because batch * seq may not fit.
  const auto fits = [&](std::size_t room) {
    return room % static_cast<std::size_t>(seq) == 0 &&
           room / static_cast<std::size_t>(seq) == static_cast<std::size_t>(batch);
  };
  if (!fits(inputs) || !fits(targets)) {
    throw ShapeError(name + "inputs hold " + std::to_string(inputs) + " and targets " +
                     std::to_string(targets) + " tokens; give both room for " + std::to_string(batch) +
                     " x " + std::to_string(seq));
  }
}

template <class Token>
void copy_window(std::span<const std::uint8_t> tokens, std::size_t start, std::span<Token> inputs,
                 std::span<Token> targets) {
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    inputs[i] = tokens[start + i];
    targets[i] = tokens[start + i + 1];
  }
}

bool is_source(const fs::path& path) {
  const fs::path extension = path.extension();
  return extension == ".h" || extension == ".cpp" || extension == ".md";
}

}  // namespace

TextCorpus::TextCorpus(std::string_view text, std::string name) : name_(std::move(name)) {
  if (text.empty()) throw ValueError("[TextCorpus] " + name_ + " is empty; give a text of at least one byte");
  std::array<bool, 256> occurs{};
  for (const char c : text) occurs[static_cast<unsigned char>(c)] = true;
  token_of_.fill(-1);
  for (std::size_t byte = 0; byte < occurs.size(); ++byte) {
    if (!occurs[byte]) continue;
    token_of_[byte] = static_cast<std::int16_t>(vocabulary_.size());
    vocabulary_.push_back(static_cast<char>(byte));
  }
  tokens_.resize(text.size());
  std::transform(text.begin(), text.end(), tokens_.begin(),
                 [&](char c) { return static_cast<std::uint8_t>(token_of_[static_cast<unsigned char>(c)]); });
}

TextCorpus TextCorpus::from_file(const fs::path& path) {
  return TextCorpus(data::read_text("TextCorpus", path), data::shown(path));
}

std::span<const std::uint8_t> TextCorpus::tokens(Split split) const {
  // In two steps, so that the product cannot overflow; the same as floor(0.9 * n).
  const std::size_t train = tokens_.size() / 10 * 9 + tokens_.size() % 10 * 9 / 10;
  const std::span<const std::uint8_t> all = tokens_;
  return split == Split::train ? all.first(train) : all.subspan(train);
}

std::vector<std::int32_t> TextCorpus::encode(std::string_view text) const {
  std::vector<std::int32_t> tokens;
  tokens.reserve(text.size());
  for (std::size_t i = 0; i < text.size(); ++i) {
    const auto byte = static_cast<unsigned char>(text[i]);
    if (token_of_[byte] < 0) {
      throw ValueError("[TextCorpus::encode] " + quoted_byte(byte) + " at byte " + std::to_string(i) +
                       " does not occur in " + name_ + "; use only its " + std::to_string(vocabulary_size()) +
                       " characters");
    }
    tokens.push_back(token_of_[byte]);
  }
  return tokens;
}

std::string TextCorpus::decode(std::span<const std::int32_t> tokens) const {
  std::string text;
  text.reserve(tokens.size());
  for (const std::int32_t token : tokens) {
    if (token < 0 || token >= vocabulary_size()) {
      throw ValueError("[TextCorpus::decode] token " + std::to_string(token) +
                       " is outside the vocabulary of " + std::to_string(vocabulary_size()) +
                       "; was it encoded with another text?");
    }
    text.push_back(vocabulary_[static_cast<std::size_t>(token)]);
  }
  return text;
}

template <class Token>
void TextCorpus::random_batch(Split split, std::uint64_t seed, std::uint64_t step, std::int64_t batch,
                              std::int64_t seq, std::span<Token> inputs, std::span<Token> targets) const {
  static_assert(std::is_same_v<Token, std::int32_t> || std::is_same_v<Token, std::int64_t>);
  check_room("TextCorpus::random_batch", batch, seq, inputs.size(), targets.size());
  const std::span<const std::uint8_t> source = tokens(split);
  const auto length = static_cast<std::size_t>(seq);
  if (source.size() <= length) {
    throw ValueError("[TextCorpus::random_batch] the " + std::string(name_of(split)) + " part of " + name_ +
                     " has " + std::to_string(source.size()) + " tokens, too few for windows of " +
                     std::to_string(seq) +
                     " and the token that follows; give a longer text or a shorter window");
  }
  data::Stream stream(data::Purpose::text_batch, {seed, step, static_cast<std::uint64_t>(split)});
  for (std::size_t row = 0; row < static_cast<std::size_t>(batch); ++row) {
    const auto start = static_cast<std::size_t>(stream.below(source.size() - length));
    copy_window(source, start, inputs.subspan(row * length, length), targets.subspan(row * length, length));
  }
}

std::int64_t TextCorpus::windows(Split split, std::int64_t seq) const {
  if (seq < 1)
    throw ValueError("[TextCorpus::windows] a window of " + std::to_string(seq) + " tokens; give at least 1");
  return std::max<std::int64_t>(size(split) - 1, 0) / seq;
}

template <class Token>
void TextCorpus::window_batch(Split split, std::int64_t first, std::int64_t batch, std::int64_t seq,
                              std::span<Token> inputs, std::span<Token> targets) const {
  static_assert(std::is_same_v<Token, std::int32_t> || std::is_same_v<Token, std::int64_t>);
  check_room("TextCorpus::window_batch", batch, seq, inputs.size(), targets.size());
  const std::int64_t count = windows(split, seq);
  if (first < 0 || first > count || batch > count - first) {
    throw ValueError("[TextCorpus::window_batch] " + std::to_string(batch) + " windows from " +
                     std::to_string(first) + " on, but the " + std::string(name_of(split)) + " part of " +
                     name_ + " has " + std::to_string(count) + " of " + std::to_string(seq) +
                     " tokens; ask for fewer");
  }
  const std::span<const std::uint8_t> source = tokens(split);
  const auto length = static_cast<std::size_t>(seq);
  for (std::size_t row = 0; row < static_cast<std::size_t>(batch); ++row) {
    const std::size_t start = (static_cast<std::size_t>(first) + row) * length;
    copy_window(source, start, inputs.subspan(row * length, length), targets.subspan(row * length, length));
  }
}

template void TextCorpus::random_batch(Split, std::uint64_t, std::uint64_t, std::int64_t, std::int64_t,
                                       std::span<std::int32_t>, std::span<std::int32_t>) const;
template void TextCorpus::random_batch(Split, std::uint64_t, std::uint64_t, std::int64_t, std::int64_t,
                                       std::span<std::int64_t>, std::span<std::int64_t>) const;
template void TextCorpus::window_batch(Split, std::int64_t, std::int64_t, std::int64_t,
                                       std::span<std::int32_t>, std::span<std::int32_t>) const;
template void TextCorpus::window_batch(Split, std::int64_t, std::int64_t, std::int64_t,
                                       std::span<std::int64_t>, std::span<std::int64_t>) const;

std::string project_sources(const fs::path& root) {
  std::vector<fs::path> files;
  for (const char* layer : {"kernels", "engine", "checkpoint", "nn", "cli"}) {
    std::error_code error;
    fs::recursive_directory_iterator entries(root / layer, error);
    for (const fs::recursive_directory_iterator end; !error && entries != end; entries.increment(error)) {
      if (is_source(entries->path()) && entries->is_regular_file(error)) files.push_back(entries->path());
    }
  }
  if (files.empty()) {
    throw Error("[project_sources] there are no .h, .cpp or .md files of Reprise's layers under " +
                data::shown(root) + "; name a text file instead");
  }
  std::sort(files.begin(), files.end(),
            [](const fs::path& a, const fs::path& b) { return a.generic_string() < b.generic_string(); });
  std::string text;
  for (const fs::path& file : files) {
    text += data::read_text("project_sources", file);
    if (!text.empty() && text.back() != '\n') text += '\n';
    text += '\n';
  }
  return text;
}

}  // namespace reprise::nn
