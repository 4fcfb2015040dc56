// How long a node's forward would take on a device that is only described.
#pragma once

#include "reprise/device_profile.h"
#include "reprise/node.h"

namespace reprise {

/// Milliseconds: the longer of its arithmetic at the profile's peak rate and its memory traffic (inputs and
/// outputs once) at the peak bandwidth. A view takes none.
double estimated_forward_ms(const DeviceProfile& profile, const Node& node);

}  // namespace reprise
