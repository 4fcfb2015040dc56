// Everything.
#pragma once

#include "reprise/checkpoint.h"
#include "reprise/in_place.h"
#include "reprise/memory.h"
#include "reprise/nn/data.h"
#include "reprise/nn/digest.h"
#include "reprise/nn/gpt.h"
#include "reprise/nn/layers.h"
#include "reprise/nn/module.h"
#include "reprise/nn/optim.h"
#include "reprise/nn/resnet.h"
#include "reprise/nn/transaction.h"
#include "reprise/ops.h"
#include "reprise/tape.h"
#include "reprise/tensor.h"
