// All operations.
#pragma once

#include "reprise/ops/attention.h"
#include "reprise/ops/conv.h"
#include "reprise/ops/dropout.h"
#include "reprise/ops/elementwise.h"
#include "reprise/ops/embedding.h"
#include "reprise/ops/linear_cross_entropy.h"
#include "reprise/ops/matmul.h"
#include "reprise/ops/norm.h"
#include "reprise/ops/reduce.h"
#include "reprise/ops/shape.h"
#include "reprise/ops/softmax.h"
#include "reprise/ops/transfer.h"
