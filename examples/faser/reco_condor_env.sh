#!/bin/bash
# Sourced before every reconstruction. fiducial align made it, and leaves it as it is now: change what you need.
export ATLAS_LOCAL_ROOT_BASE=/cvmfs/atlas.cern.ch/repo/ATLASLocalRootBase
source "${ATLAS_LOCAL_ROOT_BASE}/user/atlasLocalSetup.sh"
asetup --input=/afs/cern.ch/user/f/faser/calypso/asetup.faser Athena,24.0.41
source /afs/cern.ch/user/f/faser/calypso/install/setup.sh
