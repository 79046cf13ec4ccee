# Two repairs for building against ROS message wheels, injected through CMAKE_PROJECT_INCLUDE by
# cmake/make_messages.sh; a ROS installation needs neither. Both run after CMakeLists.txt.
#
# 1. The wheels name include directories of the machine that built them. CMake refuses an imported
#    target whose include directory does not exist: drop those.
# 2. The environment .venv lies inside the source tree, and CMake refuses to export a target that
#    names an include directory there: such a directory is for building only.

function(_trpose_drop_missing_includes)
  get_property(targets DIRECTORY "${CMAKE_SOURCE_DIR}" PROPERTY IMPORTED_TARGETS)
  foreach(target IN LISTS targets)
    get_target_property(includes ${target} INTERFACE_INCLUDE_DIRECTORIES)
    if(NOT includes)
      continue()
    endif()
    set(kept "")
    foreach(include IN LISTS includes)
      if(include MATCHES "\\$<" OR EXISTS "${include}")
        list(APPEND kept "${include}")
      endif()
    endforeach()
    set_target_properties(${target} PROPERTIES INTERFACE_INCLUDE_DIRECTORIES "${kept}")
  endforeach()
endfunction()

function(_trpose_includes_of_venv_for_building_only)
  get_property(targets DIRECTORY "${CMAKE_SOURCE_DIR}" PROPERTY BUILDSYSTEM_TARGETS)
  foreach(target IN LISTS targets)
    get_target_property(includes ${target} INTERFACE_INCLUDE_DIRECTORIES)
    if(NOT includes)
      continue()
    endif()
    set(wrapped "")
    foreach(include IN LISTS includes)
      string(FIND "${include}" "${CMAKE_SOURCE_DIR}/" position)
      if(position EQUAL 0)
        set(include "$<BUILD_INTERFACE:${include}>")
      endif()
      list(APPEND wrapped "${include}")
    endforeach()
    set_target_properties(${target} PROPERTIES INTERFACE_INCLUDE_DIRECTORIES "${wrapped}")
  endforeach()
endfunction()

cmake_language(DEFER DIRECTORY "${CMAKE_SOURCE_DIR}" CALL _trpose_drop_missing_includes)
cmake_language(DEFER DIRECTORY "${CMAKE_SOURCE_DIR}" CALL _trpose_includes_of_venv_for_building_only)
