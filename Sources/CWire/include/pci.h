#ifndef SOFTSNAP_PCI_H
#define SOFTSNAP_PCI_H

#include "layout.h"

#endif
